import json

import pytest
from typer import Typer, echo
from typer.testing import CliRunner

from quatrain.cli import study as cli
from quatrain.cli.study import RenamedOptions, left_out_summary
from quatrain.results import Measurement, ResultStore
from quatrain.specs import SpecError, StoredFileError, StudyError
from quatrain.study import LeftOut, load_study


def test_a_run_ends_with_the_tables_and_the_path_of_the_page(call, write_study, out):
    path = write_study(
        "[cell('a'), cell('b', weight=2)]",
        comparisons="[Comparison(left='b', right='a', group='one')]",
    )
    done = call("run", path, "--out", out)
    assert done.exit_code == 0
    assert "4 done now, 0 before, 0 failed." in done.output
    assert "Differences" in done.output
    assert "report.html" in done.output
    assert "0 done now, 4 before, 0 failed." in call("run", path, "--out", out).output


def test_a_run_can_be_shown_as_a_page_and_logged(call, write_study, out):
    path = write_study("[cell('a')]", "(0,)")
    done = call("run", path, "--out", out, "--live", "--log-to", "tensorboard")
    assert done.exit_code == 0
    assert "note: the report is at http://127.0.0.1:" in done.output
    assert len(list((out / "tensorboard").glob("one-a-seed-0-*/events.out.tfevents.*"))) == 1
    assert "1 done now" in done.output


@pytest.mark.parametrize(
    ("options", "field"), [(("--port", "8000"), "--port"), (("--log-to", "wandb"), "--log-to")]
)
def test_options_of_pages_and_logs_are_checked_first(call, write_study, out, options, field):
    with pytest.raises(StudyError) as error:
        call("run", write_study("[cell('a')]"), "--out", out, *options)
    assert error.value.field == field
    assert not out.exists()


def test_after_a_failed_run_the_exit_status_is_1(call, write_study, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]", "(0,)")
    done = call("run", path, "--out", out)
    assert done.exit_code == 1
    assert "1 done now, 0 before, 1 failed." in done.output
    assert "the loss has no value" in done.output
    status = call("status", out)
    assert status.exit_code == 1
    assert "1 failed, 1 done" in status.output


def test_after_an_external_failure_the_exit_status_is_2(call, write_study, out):
    path = write_study("[cell('a', trouble='data'), cell('b')]", "(0,)")
    failed = call("run", path, "--out", out, "--jobs", "1")
    assert failed.exit_code == 2
    assert "Error: the task reads data; pass --data" in failed.output
    assert "Differences" not in failed.output


def test_the_command_line_selects_cells_and_seeds(call, write_study, out):
    path = write_study("[cell('a'), cell('b', weight=2)]")
    call("run", path, "--out", out, "--cells", "b", "--seeds", "4")
    rows = json.loads(call("status", out, "--json").output)
    done = [(row["cell"], row["seed"]) for row in rows if row["state"] == "done"]
    assert done == [("b", 4)]


def test_a_budget_ends_the_study_with_a_report_and_exit_status_0(call, write_study, out):
    path = write_study(
        "[cell('a', trouble='slow'), cell('b', weight=2, trouble='slow'), cell('c')]",
        comparisons="[Comparison(left='b', right='a', group='one')]",
    )
    call("run", path, "--out", out, "--cells", "a", "--cells", "b")
    done = call("run", path, "--out", out, "--budget", "0.1s")
    assert done.exit_code == 0
    assert "0 done now, 4 before, 0 failed." in done.output
    assert "2 runs left out, which would not have ended in time; the shortest" in done.output
    assert "Differences" in done.output
    assert "report.html" in done.output
    whole = call("run", path, "--out", out, "--budget", "1h")
    assert "2 done now, 4 before, 0 failed." in whole.output
    assert "left out" not in whole.output


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_invalid_budget_is_an_error_before_any_file_is_written(call, write_study, out, command):
    with pytest.raises(StudyError) as error:
        call(command, write_study("[cell('a')]"), "--out", out, "--budget", "2x")
    assert error.value.field == "--budget"
    assert "write 90m, 2h or 1h30m" in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize("place", ["slurm", "ray"])
def test_a_budget_is_for_runs_on_this_machine(call, write_study, out, place):
    with pytest.raises(StudyError) as error:
        call("run", write_study("[cell('a')]"), "--out", out, "--on", place, "--budget", "2h")
    assert error.value.field == "--budget"
    assert ("--slurm" in str(error.value)) is (place == "slurm")
    assert not out.exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([None, None], "2 runs left out, which would not have ended in time."),
        ([65.0], "1 run left out, which would not have ended in time; it takes about 1:05."),
        (
            [3600.0, 65.0],
            "2 runs left out, which would not have ended in time; the shortest takes about 1:05.",
        ),
    ],
)
def test_the_summary_of_a_budget_has_the_shortest_run(seconds, text):
    assert left_out_summary([LeftOut("one/a seed 0", each) for each in seconds]) == text


def test_retry_accepts_one_word(call, write_study, out):
    with pytest.raises(StudyError) as error:
        call("run", write_study("[cell('a')]"), "--out", out, "--retry", "all")
    assert error.value.field == "--retry"


def test_a_retry_repeats_failed_runs(call, write_study, out):
    path = write_study("[cell('bad', trouble='error')]", "(0,)")
    call("run", path, "--out", out)
    call("run", path, "--out", out, "--retry", "failed")
    run = load_study(path).select()[0]
    diary = ResultStore(out).files(run.identity) / "diary.txt"
    assert len(diary.read_text().splitlines()) == 2


def test_an_interrupted_run_prints_how_to_resume(call, write_study, out, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_study", interrupted)
    done = call("run", write_study("[cell('a')]"), "--out", out)
    assert done.exit_code == 130
    assert "run the same command again to resume" in done.output


def test_an_error_of_the_study_file_is_raised_before_any_file_is_written(call, write_study, out):
    with pytest.raises(SpecError):
        call("run", write_study("[cell('a', stepz=1)]"), "--out", out)
    assert not out.exists()


def test_a_damaged_record_is_reported_and_the_others_are_kept(call, write_study, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", "(0,)")
    call("run", path, "--out", out)
    first, second = sorted(out.glob("runs/*/record.json"))
    intact = second.read_text()
    first.write_text("{")
    with pytest.raises(StoredFileError) as error:
        call("run", path, "--out", out)
    assert error.value.field == str(first)
    assert second.read_text() == intact
    first.unlink()
    assert "1 done now, 1 before" in call("run", path, "--out", out).output


def test_without_a_finished_run_nothing_is_measured(call, write_study, out):
    path = write_study("[cell('a')]")
    done = call("measure", path, "--out", out, "--busy")
    assert (done.exit_code, done.output) == (0, "No cell has a finished run yet.\n")


def test_costs_are_counted_also_on_a_busy_machine(call, write_study, out, monkeypatch):
    path = write_study("[cell('a')]", "(0,)")
    call("run", path, "--out", out)
    monkeypatch.setattr("quatrain.study.measure.check_idle", lambda: pytest.fail("checked"))
    setups = []

    def count(run, setup):
        setups.append(setup)
        cost = {"paper_multiply_adds": 1234.0}
        return Measurement(device="cpu", threads=1, versions={}, cost=cost)

    monkeypatch.setattr("quatrain.study.measure.measure_run", count)
    done = call("measure", path, "--out", out, "--count-only")
    assert done.output == "one/a: paper multiply adds 1,234\n"
    assert setups[0].count_only


def test_the_default_folder_of_results_has_the_name_of_the_study(
    call, write_study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    call("run", write_study("[cell('a')]", "(0,)"))
    assert (tmp_path / "runs" / "a_study" / "study.json").exists()


@pytest.mark.parametrize("option", ["--out", "--data"])
@pytest.mark.parametrize("command", [("plan",), ("run",), ("measure", "--busy")])
def test_an_invalid_path_is_a_short_error(call, write_study, option, command):
    with pytest.raises(StudyError) as error:
        call(*command, write_study("[cell('a')]"), option, "a" * 5000)
    assert error.value.field == option
    assert len(str(error.value)) < 300


def test_relative_paths_hold_if_the_study_file_changes_the_folder(
    call, write_study, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    path = write_study("[cell('a')]", "(0,)")
    path.write_text(f"import os\nos.chdir({str(tmp_path / 'elsewhere')!r})\n" + path.read_text())
    monkeypatch.chdir(tmp_path)
    assert call("run", path.name, "--out", "out").exit_code == 0
    assert (tmp_path / "out" / "report" / "report.html").exists()
    planned = call("plan", path.name, "--out", "out")
    assert "0 runs to do" in planned.output
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_plan_notes_changed_code_and_a_run_refuses_it(call, write_study, out):
    path = write_study("[cell('a')]", "(0,)")
    call("run", path, "--out", out)
    path.write_text(path.read_text().replace("float(objective)", "float(objective) + 1"))
    assert "Note: a_study.py changed" in call("plan", path, "--out", out).stderr
    with pytest.raises(StudyError):
        call("run", path, "--out", out)


def test_new_writes_a_study_file_and_prints_the_next_commands(call, tmp_path):
    path = tmp_path / "mine.py"
    done = call("new", "coco", path)
    assert done.exit_code == 0
    assert path.exists()
    assert f"quatrain study run {path} --data DIR" in done.output


small_app = Typer()


@small_app.command(cls=RenamedOptions)
def small_run(jobs: int = 1, num_workers: int = 0):
    echo(f"{jobs} {num_workers}")


OLD = [["--workers", "2", "--readers", "3"], ["--workers=2", "--readers=3"]]


@pytest.mark.parametrize("old", OLD)
def test_old_spellings_are_accepted_with_a_note(old):
    done = CliRunner().invoke(small_app, old)
    assert (done.exit_code, done.stdout) == (0, "2 3\n")
    assert done.stderr.count("is deprecated; use") == 2


def test_new_spellings_print_no_note_and_old_ones_are_not_in_the_help():
    done = CliRunner().invoke(small_app, ["--jobs", "2"])
    assert (done.stdout, done.stderr) == ("2 0\n", "")
    help_text = CliRunner().invoke(small_app, ["--help"]).stdout
    assert "--jobs" in help_text
    assert "--workers" not in help_text
