"""A Slurm cluster of two nodes on this machine: one slurmctld and two slurmd in a folder.

It needs no munge, no cgroups, no database and no file outside its folder, but root.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")

CONFIGURATION = """\
ClusterName=quatrain
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
KillWait=5
MinJobAge=10
MaxArraySize=20
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=n1,n2 PriorityTier=9 PreemptMode=off
"""


def missing():
    """Why no cluster can be started here; empty if it can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{absent[0]} is not installed (Debian: slurm-wlm)"
    return "" if os.geteuid() == 0 else "slurmd needs root"


class SlurmCluster:
    """The cluster in `folder`; its programs read SLURM_CONF, which is in `environment`."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], ports=free_ports(3), folder=folder
        )
        (folder / "slurm.conf").write_text(text)
        self.processes = {}

    def start(self):
        self.start_controller()
        for node in ("n1", "n2"):
            self.start_node(node)
        self.wait_until(lambda: self.call("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * 4)

    def start_controller(self):
        self._start("slurmctld", "slurmctld", "-D")

    def start_node(self, node):
        self._start(node, "slurmd", "-D", "-N", node)

    def kill(self, name, number=signal.SIGKILL):
        """Kill a daemon; the jobs of a node go on."""
        self.processes[name].send_signal(number)
        self.processes.pop(name).wait()

    def call(self, *command, script=""):
        """The output of a program of Slurm; empty if it fails."""
        options = {"capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(command, check=False, env=self.environment, input=script, **options)
        return done.stdout

    def queue(self):
        """State by task: {"1_0": "RUNNING"}."""
        lines = self.call("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_until(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.queue()} {self.call('sinfo', '-N', '-l')}")
            time.sleep(0.1)

    def stop(self):
        """Cancel all jobs, and end the daemons."""
        with suppress(subprocess.TimeoutExpired, TimeoutError):
            self.call("scancel", "--user=root")
            self.wait_until(lambda: not self.queue(), 30)
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)

    def _start(self, name, *command):
        with (self.folder / f"{name}.out").open("a") as output:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )


def diaries(out):
    """The lines that the counting task wrote when its trainings started, by run."""
    lines = {}
    for path in sorted(out.glob("runs/**/diary.txt")):
        run = path.relative_to(out / "runs").parts[0]
        lines.setdefault(run, []).extend(path.read_text().splitlines())
    return lines


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
