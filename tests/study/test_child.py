import io
import os
import signal
import sys
from pathlib import Path

import pytest

from quatrain.study.child import StopRequest, absolute, accept_any_text
from quatrain.study.pool import STOP_SIGNALS


@pytest.fixture
def stop():
    """A stop request; the handlers of its signals are restored."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield StopRequest()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_remembered_in_a_block_and_ends_an_idle_process(stop, number):
    with stop.delayed():
        os.kill(os.getpid(), number)
        assert stop.is_made
    with pytest.raises(SystemExit) as raised:
        os.kill(os.getpid(), number)
    assert raised.value.code == 0


def test_any_text_can_be_printed(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    accept_any_text()
    sys.stdout.write("漢 \udce9\n")
    assert written.getvalue() == "漢 \\udce9\n".encode()


def test_a_path_does_not_follow_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("a") == tmp_path / "a"
    assert absolute("/b") == Path("/b")
