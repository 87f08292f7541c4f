import json

import pytest

from quatrain.cli.study_plan import plan_summary, precision_summary
from quatrain.specs import StudyError
from quatrain.study.precision import Precision


def test_the_plan_has_the_state_of_each_run(call, write_study, out):
    path = write_study("[cell('a')]")
    call("run", path, "--out", out, "--seeds", "0")
    assert "1 run to do, about 0.0 min with" in call("plan", path, "--out", out).output
    rows = json.loads(call("plan", path, "--out", out, "--json").output)
    assert [(row["seed"], row["state"], row["steps"]) for row in rows] == [
        (0, "done", 4), (1, "absent", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(("hours", "is_printed"), [(30.0, True), (1e-9, False)])
def test_many_gpu_hours_are_printed(call, write_study, out, hours, is_printed):
    path = write_study("[cell('a')]", "(0, 1)")
    method = f"    def gpu_hours(self):\n        return {hours}\n\n    def open("
    path.write_text(path.read_text().replace("    def open(", method))
    output = call("plan", path, "--out", out).output
    assert ("60 GPU hours" in output) is is_printed


def test_a_wrong_folder_of_another_study_is_an_error_before_the_plan(
    call, write_study, out, monkeypatch
):
    monkeypatch.setattr("quatrain.study.estimate.plan_study", lambda *_: pytest.fail("planned"))
    with pytest.raises(StudyError):
        call("plan", write_study("[cell('a')]"), "--out", out, "--spread-from", out)


def test_a_plan_writes_nothing(call, write_study, out):
    call("plan", write_study("[cell('a')]"), "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ([], "0 runs to do."),
        ([None], "1 run to do; add --estimate to estimate cells of one process."),
        ([1.0, 2.0], "2 runs to do, about 1.5 h with 2 jobs."),
        (
            [1.0, None],
            "2 runs to do, about 30.0 min with 2 jobs for the 1 whose duration is known.",
        ),
    ],
)
def test_the_summary_of_a_plan_has_the_known_hours(hours, text):
    assert plan_summary(hours, 2) == text


@pytest.mark.parametrize(
    ("cell_sd", "spread"),
    [
        (None, "residual sd 0.22 with 30 degrees of freedom"),
        ((0.1, 2.5), "sd of a cell 0.1 to 2.5"),
    ],
)
def test_the_expected_precision_names_its_spread(cell_sd, spread):
    expected = Precision("self", 16, 3, 0.22, cell_sd, 30, 0.36, 0.13, None, None)
    text = f"self, 16 cells x 3 seeds: differences to ± 0.36, main effects to ± 0.13 ({spread})."
    assert precision_summary(expected, None) == text


def test_the_plan_of_a_budget_has_the_order_and_the_runs_left_out(call, write_study, out):
    path = write_study(
        "[cell('a'), cell('b', weight=2), cell('c', weight=3)]",
        comparisons="[Comparison(left='b', right='c', group='one')]",
    )
    call("run", path, "--out", out, "--cells", "c", "--seeds", "0")
    rows = json.loads(call("plan", path, "--out", out, "--budget", "1d", "--json").output)
    starts = {(row["cells"][0], row["seed"]): row["start"] for row in rows}
    assert sorted(start for start in starts.values() if start) == [1, 2, 3, 4, 5]
    assert starts["one/c", 0] is None
    assert starts["one/b", 0] == 1
    text = call("plan", path, "--out", out, "--budget", "0.1s").output
    assert "A budget of 0:00 allows 0 runs and leaves out 5: one/a seed 0, " in text


def test_the_plan_of_a_budget_needs_durations(call, write_study, out):
    output = call("plan", write_study("[cell('a')]"), "--out", out, "--budget", "2h").output
    assert "allows 0 runs, since their durations are unknown; add --estimate." in output
