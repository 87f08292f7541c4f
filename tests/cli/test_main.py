import subprocess
import sys

import pytest
from typer.testing import CliRunner

from quatrain.cli import main
from quatrain.specs import StudyError


def call(*arguments):
    code = "from quatrain.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_bad_input_is_one_sentence_on_stderr_and_exit_status_2(tmp_path):
    done = call("study", "status", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: study folder is ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_of_ours_never_shows_a_traceback(monkeypatch, capsys):
    def fail():
        raise StudyError("field", "value", "more", "do [bold] better")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'Error: field is "value", expected more: do [bold] better.\n'


def test_a_paragraph_of_the_help_fills_its_lines():
    shown = CliRunner().invoke(main.app, ["study", "run", "--help"], terminal_width=300)
    assert "The exit status is 1 if any run failed, and 2 if the data" in shown.output


def test_an_unknown_option_is_a_usage_error():
    done = call("study", "run", "x.py", "--learning-rate", "3")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_an_interrupted_command_ends_in_a_sentence_and_exit_status_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("quatrain.results.ResultStore", interrupted)
    done = CliRunner().invoke(main.app, ["study", "status", "runs"])
    assert (done.exit_code, done.stderr) == (130, "Stopped.\n")
