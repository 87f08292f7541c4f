import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quatrain.cli import main
from quatrain.specs import StudyError

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "digits_detection"
PROGRAM = [sys.executable, "-c", "from quatrain.cli.main import main; main()"]


def call(*arguments, encoding="utf-8", **environment):
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        encoding=encoding,
        check=False,
        env={**os.environ, **environment},
    )


def test_an_error_in_the_input_is_one_sentence_and_exit_status_2(tmp_path):
    done = call("study", "status", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_of_quatrain_prints_no_traceback(monkeypatch, capsys):
    def fail():
        raise StudyError("field is wrong; do [bold] better", "field")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "Error: field is wrong; do [bold] better\n"


def test_an_error_prints_no_control_characters(monkeypatch, capsys):
    def fail():
        raise StudyError("field is \x1b]0;title\x07 \udce9", "field")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit):
        main.main()
    assert "field is \\x1b]0;title\\x07 \\udce9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("study", "run", "x.py", "--port", "99999"),
            "--port should be less than or equal to 65535",
        ),
        (("study", "run", "x.py", "--jobs", "x"), "--jobs should be a valid integer"),
        (
            ("study", "run", "x.py", "--on", "slum"),
            "--on 'slum' is not one of 'local', 'slurm', 'ray'",
        ),
        (("study", "run"), "missing argument 'STUDY'"),
        (("study", "status", ".", "--bogus"), "no such option"),
        (("bogus",), "no such command 'bogus'"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_exit_status_2(arguments, sentence):
    result = CliRunner().invoke(main.app, arguments, prog_name="quatrain")
    assert result.exit_code == 2
    assert result.stderr.lower().startswith(f"error: {sentence.lower()}")
    assert result.stderr.count("\n") == 1
    command = " ".join(word for word in arguments[:2] if word in {"study", "run", "status"})
    assert f"see `{' '.join(filter(None, ('quatrain', command)))} --help`" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("study",)])
def test_a_group_without_arguments_prints_its_help(arguments):
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == 2
    assert "Commands" in result.output


@pytest.mark.parametrize("arguments", [("study", "status", str(RESULTS)), ("--help",)])
def test_commands_print_in_any_encoding(arguments):
    done = call(*arguments, encoding="ascii", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_reports_are_printed_in_any_encoding(encoding):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = call("report", str(RESULTS), "--markdown", encoding=encoding, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("1111 − w/o" in done.stdout) == (encoding == "utf-8")
    assert ("1111 ? w/o" in done.stdout) == (encoding != "utf-8")


@pytest.mark.slow
def test_json_is_complete_in_any_encoding():
    plain = call("report", str(RESULTS), "--json", PYTHONIOENCODING="utf-8")
    ascii_only = call("report", str(RESULTS), "--json", PYTHONIOENCODING="ascii")
    assert json.loads(ascii_only.stdout) == json.loads(plain.stdout)


def test_a_reader_that_closes_the_pipe_is_no_error():
    with subprocess.Popen(
        [*PROGRAM, "study", "status", str(RESULTS), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        program.stdout.close()
        assert program.stderr.read() == ""


def test_a_paragraph_of_the_help_fills_its_lines():
    done = CliRunner().invoke(main.app, ["study", "run", "--help"], terminal_width=300)
    assert "The exit status is 1 if a run failed, and 2 if an error" in done.output


def test_an_unknown_option_is_a_usage_error():
    done = CliRunner().invoke(main.app, ["study", "run", "x.py", "--learning-rate", "3"])
    assert done.exit_code == 2
    assert "no such option" in done.stderr


def test_an_interrupted_command_ends_in_a_sentence_and_exit_status_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("quatrain.cli.study.ResultStore", interrupted)
    done = CliRunner().invoke(main.app, ["study", "status", "runs"])
    assert (done.exit_code, done.stderr) == (130, "Stopped.\n")
