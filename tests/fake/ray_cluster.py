"""A Ray cluster of two nodes on this machine, each with one CPU.

As a program it starts the cluster, prints its address, and obeys lines on stdin, until their end.
"""

import importlib.util
import os
import subprocess
import sys
import time

from fake.slurm_cluster import diaries
from quatrain.study.engines import Ray


def missing():
    """Why no cluster can be started here; empty if it can."""
    return "" if importlib.util.find_spec("ray") else 'install "quatrain[ray]"'


class RayCluster:
    """The cluster; drivers find it at `address`."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
        self._process = subprocess.Popen(
            (sys.executable, __file__), stderr=subprocess.DEVNULL, env=environment, **pipes
        )
        self.address = self._process.stdout.readline().strip()
        self._has_second = True

    def add_second_node(self):
        if not self._has_second:
            self._do("add")
            self._has_second = True

    def lose_second_node(self):
        """Kill the second node; the children of its actors live on."""
        self._do("lose")
        self._has_second = False

    def stop(self):
        """Kill all nodes."""
        self._process.communicate()

    def _do(self, command):
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


def main():
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    second = cluster.add_node(**small)
    print(cluster.address, flush=True)  # noqa: T201
    for command in sys.stdin:
        if command == "add\n":
            second = cluster.add_node(**small)
        else:
            cluster.remove_node(second, allow_graceful=False)
        print("done", flush=True)  # noqa: T201
    cluster.shutdown()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


def wait_until_ended(jobs):
    """Wait until no worker of these jobs waits or runs."""
    wait_until(lambda: not Ray().states([job.name for job in jobs]))


def starts(out):
    """By run, the steps from which its attempts started, and the processes that trained it."""
    return {
        run: [(int(line.split()[1]), int(line.split(" in ")[1])) for line in lines]
        for run, lines in diaries(out).items()
    }


if __name__ == "__main__":
    main()
