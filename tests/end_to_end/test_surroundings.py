"""Studies run in any environment: files of the user, site, variables and start method."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quatrain.results import ResultStore

pytestmark = pytest.mark.slow

HEAD = (Path(__file__).parents[1] / "fake" / "torch_study.py").read_text()
STUDY = (
    "study = Study(title='T', question='?', metric='accuracy', seeds=(0,), "
    "cells=[Cell(name='a', group='g', spec=TinySpec())])\n"
)
# A shell's background jobs ignore it.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
START = "from quatrain.cli.start import main; main()"
QUATRAIN = (sys.executable, "-P", "-c", START)


@pytest.fixture
def run(tmp_path):
    """Run a study of this name in a folder with these files; the program's process."""

    def run_in(name="study.py", start="", files=None, options=(), **environment):
        (tmp_path / name).write_text(f"{start}\n{HEAD}\n{STUDY}")
        for file, content in (files or {}).items():
            (tmp_path / file).write_text(content)
        done = subprocess.run(
            [*QUATRAIN, "study", "run", name, "--out", "out", "--threads", "1", *options],
            cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b""), done.stdout[-2000:]
        assert len(ResultStore(tmp_path / "out").all_records()) == 1
        return done

    return run_in


BROKEN = "raise RuntimeError('wrong module')"
LIKE_MODULES = ("queue", "random", "numpy", "typing_extensions", "quatrain")


def test_files_of_the_user_replace_no_modules(run):
    run("torch.py", files={f"{name}.py": BROKEN for name in LIKE_MODULES})


def test_a_study_may_import_modules_beside_it(run):
    run(start="import own_grid", files={"own_grid.py": "sizes = (1, 2)"})


def test_a_record_has_the_fingerprint_of_its_function(run, tmp_path):
    run()
    (record,) = ResultStore(tmp_path / "out").all_records()
    assert len(set(record.fingerprint)) == 3


BANNER = "import os\nos.write(1, b'Welcome to the cluster! \\xe9\\n')\nprint('{')\n"


def test_sitecustomize_may_print_in_each_process(run, tmp_path):
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    run(files={"sitecustomize.py": BANNER}, PYTHONPATH=path)
    assert b"Welcome to the cluster! \xe9" in (tmp_path / "out" / "worker-1.log").read_bytes()


def test_a_run_does_not_depend_on_encodings_warnings_and_colours(run, tmp_path):
    done = run(PYTHONIOENCODING="latin-1", PYTHONWARNINGS="error", FORCE_COLOR="1")
    log = (tmp_path / "out" / "worker-1.log").read_text(encoding="utf-8")
    assert log.endswith("evaluating é 漢\n")
    assert b"\x1b[?25l" not in done.stdout  # no bars without a terminal


def test_worker_processes_know_the_classes_of_the_study_file_with_any_start_method(run):
    start = "import multiprocessing\nmultiprocessing.set_start_method('forkserver', force=True)"
    run(start=start, options=("--num-workers", "1"))


def test_an_interrupt_while_the_study_file_is_loaded_is_one_sentence(tmp_path):
    stubborn = "import time\nfor _ in range(9):\n    try:\n        print('reading', flush=True)\n"
    stubborn += "        time.sleep(5)\n    except BaseException:\n        pass\n"
    (tmp_path / "study.py").write_text(stubborn)
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + START, "study", "plan", "study.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program.stderr.readline()  # the output of the study file
    before = time.monotonic()
    program.send_signal(signal.SIGINT)
    _, error = program.communicate()
    assert (program.returncode, error) == (130, b"Stopped.\n")
    assert time.monotonic() - before < 4
