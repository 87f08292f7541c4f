import pytest

from quatrain.report.ranking import judged_metrics, mark_best

MEANS = {"a": 10.0, "b": 20.0, "c": 20.1}


@pytest.fixture
def marks(make_report):
    def mark(means, noise=(0.0, 0.2, -0.2), **manifest):
        values = {
            ("g", cell): {s: {"bleu": mean + (-1) ** n * x} for s, x in enumerate(noise)}
            for n, (cell, mean) in enumerate(means.items())
        }
        return mark_best(make_report(values, **manifest), "bleu")

    return mark


def test_the_best_and_those_tied_with_it_are_marked(marks):
    assert marks(MEANS) == ["", "tied", "best"]


def test_the_lowest_is_best_where_the_study_declares_it(marks):
    assert marks(MEANS, lower_is_better=True) == ["best", "", ""]


def test_a_metric_of_undeclared_direction_has_no_best_cell(make_report):
    values = {
        ("g", cell): {s: {"bleu": mean + s / 10, "loss": mean - s / 10} for s in range(3)}
        for cell, mean in MEANS.items()
    }
    report = make_report(values)
    assert judged_metrics(report) == ["bleu"]
    assert mark_best(report, "loss") == ["", "", ""]
    report = make_report(values, lower_is_better={"loss": True})
    assert judged_metrics(report) == ["bleu", "loss"]
    assert mark_best(report, "bleu")[2] == "best"
    assert mark_best(report, "loss")[0] == "best"


def test_equal_cells_are_both_best_and_one_seed_has_no_ties(marks):
    assert marks({"a": 1.0, "b": 1.0}, (0.0,)) == ["best", "best"]
    assert marks(MEANS, (0.0,)) == ["", "", "best"]


def test_one_cell_is_not_the_best_of_its_group(marks):
    assert marks({"a": 1.0}) == [""]


def test_cells_without_common_seeds_are_not_tied(make_report):
    values = {("g", "a"): {0: {"bleu": 1.0}, 1: {"bleu": 2.0}}, ("g", "b"): {2: {"bleu": 3.0}}}
    assert mark_best(make_report(values), "bleu") == ["", "best"]
