import signal
import subprocess
import sys
import threading

import pytest

from quatrain.cli.start import leave_on_interrupt

INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from quatrain.cli.start import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "rich.console", "pydantic", "quatrain.cli.study"])
def test_an_interrupt_while_modules_are_imported_is_one_sentence(module):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


def test_the_start_imports_no_dependencies():
    code = (
        "import sys, quatrain.cli.start; print('typer' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


NOT_INSTALLED = """
import sys
class NotInstalled:
    def find_spec(self, name, *_):
        if name == "typer":
            raise ModuleNotFoundError(name="typer")
sys.meta_path.insert(0, NotInstalled())
from quatrain.cli.start import main
main()
"""


def test_a_missing_package_is_one_sentence_with_the_command_that_installs_it():
    done = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert 'pip install "quatrain[study]"' in done.stderr


def test_the_handler_is_installed_in_the_block_only():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with leave_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_that_ignores_interrupts_continues_to_do_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with leave_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_no_handler_is_installed():
    reached = []

    def read():
        with leave_on_interrupt():
            reached.append(True)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert reached == [True]
