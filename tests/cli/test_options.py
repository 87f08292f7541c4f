import pytest
from typer import Typer, echo
from typer.testing import CliRunner

from quatrain.cli.options import RenamedOptions

app = Typer()


@app.command(cls=RenamedOptions)
def run(jobs: int = 1, num_workers: int = 0) -> None:
    echo(f"{jobs} {num_workers}")


OLD = [["--workers", "2", "--readers", "3"], ["--workers=2", "--readers=3"]]


@pytest.mark.parametrize("old", OLD)
def test_old_spellings_are_accepted_with_a_note(old):
    done = CliRunner().invoke(app, old)
    assert (done.exit_code, done.stdout) == (0, "2 3\n")
    assert done.stderr.count("is deprecated; use") == 2


def test_new_spellings_print_no_note_and_old_ones_are_not_in_the_help():
    done = CliRunner().invoke(app, ["--jobs", "2"])
    assert (done.stdout, done.stderr) == ("2 0\n", "")
    help_text = CliRunner().invoke(app, ["--help"]).stdout
    assert "--jobs" in help_text
    assert "--workers" not in help_text
