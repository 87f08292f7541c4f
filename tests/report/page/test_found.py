import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.page.found import build_found
from quatrain.results import Comparison


def pair(left, right, **fields):
    return Comparison(group="g", left=left, right=right, **fields)


@pytest.fixture
def found(tmp_path):
    noise = (0.0, 0.1, -0.1, 0.05)
    cells = {"a": 10.0, "b": 20.0, "c": 20.05}
    values = {
        ("g", cell): {s: {"accuracy": mean + (s + n) * x} for s, x in enumerate(noise)}
        for n, (cell, mean) in enumerate(cells.items())
    }
    comparisons = (
        pair("b", "a", published=-3.0),
        pair("a", "b"),
        pair("c", "b"),
        pair("a", "d"),
        pair("d", "b"),
    )
    store = write_results(tmp_path, {**values, ("g", "d"): {}}, comparisons=comparisons)
    return build_found(load_report(store))


def test_verdicts_have_words_and_shapes(found):
    lines = found.settled["g"]
    assert [(line.shape, line.word) for line in lines] == [("higher", "higher"), ("lower", "lower")]
    assert "published −3.00" in lines[0].text
    assert "−10." in lines[1].text
    assert "<path" in lines[0].mark


def test_inconclusive_comparisons_stand_apart(found):
    (line,) = found.inconclusive["g"]
    assert (line.shape, line.word) == ("open", "inconclusive")


def test_comparisons_that_are_not_run_are_one_sentence(found):
    assert found.not_run == "2 comparisons are not run in a common seed yet: g (2)."
    assert found.summary == (
        "3 of 5 declared comparisons: 1 higher, 1 lower, 1 inconclusive; 2 not run."
    )


def test_a_study_without_comparisons_or_runs_says_so(tmp_path):
    store = write_results(tmp_path / "a", {("g", "a"): {0: {"accuracy": 1.0}}})
    assert build_found(load_report(store)).summary == "The study declares no comparison."
    store = write_results(tmp_path / "b", {("g", "a"): {}, ("g", "b"): {}},
                          comparisons=(pair("a", "b"),))  # fmt: skip
    assert build_found(load_report(store)).summary == "None of 1 comparison can be judged yet."
