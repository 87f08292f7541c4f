import io
import re
import socket
import sys
import urllib.request

import pytest
from rich.console import Console

from quatrain.cli.observers import observe
from quatrain.specs import MissingPackageError, StudyError
from quatrain.study import Event


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def address_in(console):
    return re.search(r"http://127\.0\.0\.1:\d+/", console.file.getvalue())[0]


def test_without_options_there_is_only_the_progress(console, tmp_path):
    with observe(console, tmp_path, 1, None, ()) as notify:
        notify(Event(kind="done", identity="ab" * 32, label="a/b seed 0"))
    assert console.file.getvalue() == "1/1 done: a/b seed 0\n"
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_there_until_the_block_ends(console, tmp_path):
    with observe(console, tmp_path, 1, 0, ()):
        address = address_in(console)
        with urllib.request.urlopen(address) as response:
            assert b"No report yet" in response.read()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)


def test_a_port_in_use_is_a_note(console, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with observe(console, tmp_path, 1, port, ()) as notify:
            notify(Event(kind="done", identity="ab" * 32, label="a/b seed 0"))
    note, done = console.file.getvalue().splitlines()
    assert note.startswith(f"note: no page: port {port} of this machine cannot be used (")
    assert note.endswith("; the study continues")
    assert done == "1/1 done: a/b seed 0"


def test_an_unknown_log_is_an_error_before_the_study(console, tmp_path):
    with (
        pytest.raises(StudyError, match="use tensorboard or trackio"),
        observe(console, tmp_path, 1, None, ["x"]),
    ):
        pass


def test_a_missing_package_is_an_error_before_the_study(console, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with (
        pytest.raises(MissingPackageError, match=r'pip install "quatrain\[tensorboard\]"'),
        observe(console, tmp_path, 1, None, ["tensorboard"]),
    ):
        pass
