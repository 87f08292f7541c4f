import functools
import json

import pytest
from typer.testing import CliRunner

from quatrain.cli import study as cli
from quatrain.cli.main import app
from quatrain.cli.study import parse_seeds, plan_summary
from quatrain.specs import SpecError, StoredFileError, StudyError
from quatrain.study import load_study, run_study


@pytest.fixture
def call(monkeypatch, command):
    """Call `quatrain study ...`, with workers that train without torch."""
    monkeypatch.setattr(cli, "run_study", functools.partial(run_study, command=command))

    def invoke(*arguments):
        return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)

    return invoke


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_run_ends_with_the_table_and_the_path_of_the_page(call, write_study, out):
    path = write_study(
        "[cell('a'), cell('b', weight=2)]",
        comparisons="[Comparison(left='b', right='a', group='one')]",
    )
    done = call("run", path, "--out", out)
    assert done.exit_code == 0
    assert "4 done now, 0 before, 0 failed." in done.output
    assert "Differences, paired by seed" in done.output
    assert "report.html" in done.output
    assert "0 done now, 4 before, 0 failed." in call("run", path, "--out", out).output


def test_a_failed_run_makes_the_exit_status_1_of_run_and_status(call, write_study, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]", "(0,)")
    done = call("run", path, "--out", out)
    assert done.exit_code == 1
    assert "1 done now, 0 before, 1 failed." in done.output
    assert "the loss went for a walk" in done.output
    status = call("status", out)
    assert status.exit_code == 1
    assert "1 failed, 1 done" in status.output


def test_missing_data_is_one_sentence_and_exit_status_2(call, write_study, out):
    path = write_study("[cell('a', trouble='data'), cell('b')]", "(0,)")
    refused = call("run", path, "--out", out, "--jobs", "1")
    assert refused.exit_code == 2
    assert "Error: data is" in refused.output
    assert "Differences" not in refused.output


def test_the_command_line_selects_cells_and_seeds(call, write_study, out):
    path = write_study("[cell('a'), cell('b', weight=2)]")
    call("run", path, "--out", out, "--cells", "b", "--seeds", "4")
    rows = json.loads(call("status", out, "--json").output)
    done = [(row["cell"], row["seed"]) for row in rows if row["state"] == "done"]
    assert done == [("b", 4)]


def test_retry_knows_one_word(call, write_study, out):
    with pytest.raises(StudyError, match="write --retry failed"):
        call("run", write_study("[cell('a')]"), "--out", out, "--retry", "all")


def test_a_retry_runs_failed_runs_again(call, write_study, out):
    path = write_study("[cell('bad', trouble='error')]", "(0,)")
    call("run", path, "--out", out)
    call("run", path, "--out", out, "--retry", "failed")
    run = load_study(path).select()[0]
    diary = out / "runs" / run.identity[:16] / "diary.txt"
    assert len(diary.read_text().splitlines()) == 2


def test_an_interrupted_run_says_how_to_go_on(call, write_study, out, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_study", interrupted)
    done = call("run", write_study("[cell('a')]"), "--out", out)
    assert done.exit_code == 130
    assert "give the same command again to resume" in done.output


def test_a_typo_in_the_study_file_is_the_sentence_of_the_spec(call, write_study, out):
    with pytest.raises(SpecError, match=r"FakeSpec\.stepz"):
        call("run", write_study("[cell('a', stepz=1)]"), "--out", out)
    assert not out.exists()


def test_a_damaged_record_is_named_and_the_others_stay(call, write_study, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", "(0,)")
    call("run", path, "--out", out)
    first, second = sorted(out.glob("runs/*/record.json"))
    intact = second.read_text()
    first.write_text("{")
    with pytest.raises(StoredFileError, match="delete this file and run the study again"):
        call("run", path, "--out", out)
    assert second.read_text() == intact
    first.unlink()
    assert "1 done now, 1 before" in call("run", path, "--out", out).output


def test_the_plan_tells_what_is_done_and_what_is_left(call, write_study, out):
    path = write_study("[cell('a')]")
    call("run", path, "--out", out, "--seeds", "0")
    assert "1 run to do, about 0.0 min with" in call("plan", path, "--out", out).output
    rows = json.loads(call("plan", path, "--out", out, "--json").output)
    assert [(row["seed"], row["state"], row["steps"]) for row in rows] == [
        (0, "done", 4), (1, "absent", 4),
    ]  # fmt: skip


def test_gpu_hours_are_told_where_they_are_many(call, write_study, out):
    path = write_study("[cell('a')]", "(0, 1)")
    plain = path.read_text()
    for hours, told in ((30.0, True), (1e-9, False)):
        priced = f"    def gpu_hours(self):\n        return {hours}\n\n    def open("
        path.write_text(plain.replace("    def open(", priced))
        shown = call("plan", path, "--out", out).output
        assert ("60 GPU hours in all, not measured: arithmetic at 50 tera" in shown) is told
        path.write_text(plain)


def test_a_plan_writes_nothing(call, write_study, out):
    call("plan", write_study("[cell('a')]"), "--out", out)
    assert not out.exists()


def test_nothing_is_measured_before_a_run_is_done(call, write_study, out):
    path = write_study("[cell('a')]")
    done = call("measure", path, "--out", out, "--busy")
    assert (done.exit_code, done.output) == (0, "No cell has a finished run yet.\n")


def test_results_go_by_default_to_a_folder_named_after_the_study(
    call, write_study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    call("run", write_study("[cell('a')]", "(0,)"))
    assert (tmp_path / "runs" / "a_study" / "study.json").exists()


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, None), ("3", [3]), ("0,1, 2", [0, 1, 2]), ("0-2,7", [0, 1, 2, 7])]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1..3", "5-2", "٣", "１-２", "9" * 5000])
def test_other_seeds_are_refused(text):
    with pytest.raises(StudyError, match='write "0,1,2" or "0-4"'):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "number"), [("0-20000000", "20,000,001"), ("0-9999,10000", "10,001")]
)
def test_more_seeds_than_anybody_means_are_refused_at_once(text, number):
    with pytest.raises(StudyError, match=f'the number of seeds is "{number}", expected at most 10'):
        parse_seeds(text)


@pytest.mark.parametrize("seeds", ["18446744073709551616", "0,0"])
def test_seeds_that_no_run_can_have_are_refused_before_anything_is_done(
    call, write_study, out, seeds
):
    with pytest.raises(StudyError, match=r"a whole number from 0 to 18\d+|each seed once"):
        call("run", write_study("[cell('a')]"), "--out", out, "--seeds", seeds)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--out", "--data"])
@pytest.mark.parametrize("words", [("plan",), ("run",), ("measure", "--busy")])
def test_a_path_that_the_system_does_not_take_is_one_sentence(call, write_study, option, words):
    command, *options = words
    with pytest.raises(StudyError, match=f"{option} is .*expected a path") as caught:
        call(command, write_study("[cell('a')]"), option, "a" * 5000, *options)
    assert len(str(caught.value)) < 300


def test_paths_mean_what_they_meant_when_they_were_typed(call, write_study, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    path = write_study("[cell('a')]", "(0,)")
    path.write_text(f"import os\nos.chdir({str(tmp_path / 'elsewhere')!r})\n" + path.read_text())
    monkeypatch.chdir(tmp_path)
    assert call("run", path.name, "--out", "out").exit_code == 0
    assert (tmp_path / "out" / "report" / "report.html").exists()
    planned = call("plan", path.name, "--out", "out")
    assert "0 runs to do" in planned.output
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_plan_notes_what_was_run_with_other_code_and_a_run_refuses_it(call, write_study, out):
    path = write_study("[cell('a')]", "(0,)")
    call("run", path, "--out", out)
    path.write_text(path.read_text().replace("float(objective)", "float(objective) + 1"))
    noted = "Note: a_study.py changed after 1 run finished (one/a)"
    assert noted in call("plan", path, "--out", out).stderr
    with pytest.raises(StudyError, match="raise the `revision` of FakeSpec"):
        call("run", path, "--out", out)


def test_another_study_in_the_folder_is_noted(call, write_study, out):
    path = write_study("[cell('a')]", "(0,)")
    call("run", path, "--out", out)
    path.write_text(path.read_text().replace("'A study'", "'Another'"))
    assert "the title was 'A study'" in call("run", path, "--out", out).stderr


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ([], "0 runs to do."),
        ([None], "1 run to do; add --probe to estimate the time."),
        ([1.0, 2.0], "2 runs to do, about 1.5 h with 2 jobs."),
        (
            [1.0, None],
            "2 runs to do, about 30.0 min with 2 jobs for the 1 whose duration is known.",
        ),
    ],
)
def test_the_summary_of_a_plan_says_what_is_known(hours, text):
    assert plan_summary(hours, 2) == text


def test_new_writes_a_study_file_and_prints_the_next_commands(call, tmp_path):
    path = tmp_path / "mine.py"
    done = call("new", "coco", path)
    assert done.exit_code == 0
    assert path.exists()
    assert f"quatrain study run {path} --data DIR" in done.output
