"""What docs/shared_disks.md promises, on each kind of disk that this machine can have.

Each machine is a process of its own that looks like one of another host. The disk with caches is a
folder that two of them have mounted, each with a cache that shows it changes of the other one only
seconds later, as a network file system does.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "shared_disks.md"
CACHE_SECONDS = 1
LEASE_SECONDS = 5.0

MACHINE = """
import json, os, sys
from pathlib import Path
from quatrain.results import ResultStore, attempts
folder, host, links = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
attempts.socket.gethostname = lambda: host
if links == "no links":
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")
    os.link = refuse
from quatrain.results.files import create_atomically
attempt = None
def claim(run):
    global attempt
    attempt = attempts.claim(folder / run, seconds=float(sys.argv[4]))
    return attempt and attempt.number
def begin(text):
    (attempt.begin() / "checkpoint.safetensors").write_text(text)
def resume():
    return (attempt.begin() / "checkpoint.safetensors").read_text()
def publish(run):
    return create_atomically(folder / run / "record.json", host)
def read(run):
    return (folder / run / "record.json").read_text()
def release():
    attempt.release()
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
"""


class Machine:
    """A process that looks like one of another host, and what it sees of the disk."""

    def __init__(self, folder: Path, host: str, links: str) -> None:
        command = [sys.executable, "-c", MACHINE, str(folder), host, links, str(LEASE_SECONDS)]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)

    def begin(self, *call) -> None:
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()

    def result(self):
        return json.loads(self.process.stdout.readline())

    def __call__(self, *call):
        self.begin(*call)
        return self.result()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def local(stack, tmp_path):
    return tmp_path, tmp_path, "links"


def memory(stack, tmp_path):
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("this machine has no /dev/shm")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
    return folder, folder, "links"


def without_links(stack, tmp_path):
    return tmp_path, tmp_path, "no links"


def with_caches(stack, tmp_path):
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("bindfs is not installed, or may not mount")
    below = tmp_path / "below"
    below.mkdir()
    options = ",".join(f"{name}_timeout={CACHE_SECONDS}" for name in ("entry", "attr", "negative"))
    views = tmp_path / "a", tmp_path / "b"
    for view in views:
        view.mkdir()
        mount = subprocess.run(["bindfs", "-o", options, below, view], check=False)
        if mount.returncode:
            pytest.skip("bindfs may not mount here")
        stack.callback(subprocess.run, ["umount", "-l", view], check=False)
    return *views, "links"


DISKS = {
    "local disk": local,
    "memory (tmpfs)": memory,
    "disk without hard links": without_links,
    f"two machines with caches of {CACHE_SECONDS} s": with_caches,
}


@pytest.fixture(params=DISKS)
def machines(request, tmp_path):
    with ExitStack() as stack:
        first, second, links = DISKS[request.param](stack, tmp_path)
        both = Machine(first, "a", links), Machine(second, "b", links)
        for machine in both:
            stack.callback(machine.kill)
        yield both


def one_of_two_that_claim_at_once_gets_the_run(a, b):
    for number in range(12):
        for machine in (a, b):
            machine.begin("claim", f"run{number}")
        claimed = [machine.result() for machine in (a, b)]
        assert sorted(map(str, claimed)) == ["1", "None"]


def a_lease_is_held_while_it_is_renewed(a, b):
    assert a("claim", "run") == 1
    time.sleep(1.5 * LEASE_SECONDS)
    assert b("claim", "run") is None


def the_run_of_a_lost_machine_resumes_from_its_checkpoint(a, b):
    assert a("claim", "run") == 1
    a("begin", "step 4")
    a.kill()
    started = time.monotonic()
    while (number := b("claim", "run")) is None:
        assert time.monotonic() - started < 60
        time.sleep(0.2)
    assert (number, b("resume")) == (2, "step 4")


def a_released_run_resumes_at_once(a, b):
    assert a("claim", "run") == 1
    a("begin", "step 4")
    a("release")
    time.sleep(2 * CACHE_SECONDS)
    assert (b("claim", "run"), b("resume")) == (2, "step 4")


def the_first_record_stands(a, b):
    for number in range(12):
        for machine in (a, b):
            machine.begin("publish", f"run{number}")
        published = [machine.result() for machine in (a, b)]
        assert sorted(published) == [False, True]
        host = "a" if published[0] else "b"
        assert {machine("read", f"run{number}") for machine in (a, b)} == {host}


PROMISES = [
    one_of_two_that_claim_at_once_gets_the_run,
    a_lease_is_held_while_it_is_renewed,
    the_run_of_a_lost_machine_resumes_from_its_checkpoint,
    a_released_run_resumes_at_once,
    the_first_record_stands,
]


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_what_is_promised_holds(machines, promise):
    promise(*machines)


def test_the_page_has_a_row_for_each_promise_and_a_column_for_each_disk():
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert table[0][1:] == list(DISKS)
    names = [promise.__name__.replace("_", " ") for promise in PROMISES]
    assert [row[0] for row in table[2:]] == names
    assert {cell for row in table[2:] for cell in row[1:]} == {"yes"}
