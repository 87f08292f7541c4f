import json
import re
from xml.etree import ElementTree

import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.page.scatter import Scatter, scatter_svg, scatter_table


@pytest.fixture
def make_scatter(tmp_path):
    def make(values, **fields):
        return Scatter(load_report(write_results(tmp_path, values, **fields)))

    return make


def runs(*values, metric="accuracy"):
    return {seed: {metric: value} for seed, value in enumerate(values)}


def names(fronts):
    return [[point.name for point in members] for members in fronts]


def test_points_have_intervals_costs_and_probabilities(report):
    scatter = Scatter(report)
    assert scatter.groups == ["self", "cross"]
    assert [cost.key for cost in scatter.costs][:2] == ["multiply_adds", "parameters"]
    first = scatter.points[0]
    assert first.name == "1111"
    assert first.values[0][0] == pytest.approx(31.1667, abs=1e-3)
    assert first.costs[0] == pytest.approx(800)
    assert first.odds[0, 0] == pytest.approx(1, abs=0.01)


def test_the_front_follows_the_declared_direction(make_scatter, tmp_path):
    values = {("g", "a"): runs(1, 1.1), ("g", "b"): runs(3, 3.1), ("g", "c"): runs(2, 2.1)}
    assert names(make_scatter(values).on_front(0, 0)) == [["a", "b"]]
    assert names(make_scatter(values, lower_is_better=True).on_front(0, 0)) == [["a"]]


def test_a_front_follows_the_declared_direction_of_each_metric(make_scatter):
    values = {
        ("g", cell): {s: {"accuracy": x + s * x / 50, "loss": x + s * x / 50} for s in (0, 1, 2)}
        for cell, x in {"a": 1.0, "b": 3.0, "c": 2.0}.items()
    }
    scatter = make_scatter(values, lower_is_better={"loss": True})
    assert names(scatter.on_front(0, 0)) == [["a", "b"]]
    assert names(scatter.on_front(1, 0)) == [["a"]]
    assert scatter.points[1].odds[1, 0] == pytest.approx(0, abs=0.01)
    assert scatter.direction("loss") == "Lower loss is better."
    assert scatter.direction("accuracy") == "Higher accuracy is better."


def test_other_metrics_have_no_front_and_say_so(report):
    scatter = Scatter(report)
    assert scatter.metrics[1] == "chrf"
    assert names(scatter.on_front(1, 0)) == [[], []]
    assert "does not declare whether higher or lower chrF is better" in scatter.direction("chrf")
    assert not any(metric == 1 for point in scatter.points for metric, _ in point.odds)


def test_the_first_view_has_each_cell_and_its_numbers(report):
    svg = scatter_svg(Scatter(report))
    root = ElementTree.fromstring(svg)
    titles = [node.text for node in root.iter("title")]
    assert len(titles) == 5
    assert "self, 1111: BLEU 31.17 [30.73, 31.61], 800 M multiply-adds" in titles
    labels = [node.text for node in root.iter("text") if node.get("class") == "label"]
    assert "1111 · 100 %" in labels


def test_costs_over_several_decades_have_a_logarithmic_axis(make_scatter):
    costs = {"a": {"multiply_adds": 1e6}, "b": {"multiply_adds": 1e9}}
    scatter = make_scatter({("g", "a"): runs(1), ("g", "b"): runs(2)}, costs=costs)
    ticks = re.findall(r'class="tick">([^<]*)<', scatter_svg(scatter))
    assert {"0.01", "0.1", "1"} <= set(ticks)


def test_data_for_the_script_are_rounded_json(report):
    data = json.loads(json.dumps(Scatter(report).as_json(), allow_nan=False))
    assert data["metrics"][0] == {
        "title": "BLEU",
        "better": 1,
        "direction": "Higher BLEU is better.",
    }
    assert data["cells"][0]["values"][0] == [31.1667, 30.7274, 31.6059]
    assert data["cells"][0]["odds"]["0,0"] == pytest.approx(1, abs=0.01)


def test_without_costs_or_runs_there_is_no_figure(make_scatter):
    assert scatter_svg(make_scatter({("g", "a"): {}})) == ""


def test_a_cell_may_lack_a_metric_or_a_cost(make_scatter):
    values = {("g", "a"): {0: {"accuracy": 1.0, "loss": 2.0}}, ("g", "b"): runs(2)}
    costs = {"a": {"multiply_adds": 1e6, "parameters": 5.0}, "b": {"multiply_adds": 2e6}}
    scatter = make_scatter(values, costs=costs)
    assert scatter.points[1].values[1] is None
    assert scatter.points[1].costs[1] is None
    assert scatter_svg(scatter)
    assert len(scatter_table(scatter)[0].texts) == 2


def test_the_count_by_the_papers_convention_is_an_axis_where_some_cell_has_it(make_scatter):
    costs = {"a": {"multiply_adds": 1e6, "paper_multiply_adds": 2e9}, "b": {"multiply_adds": 2e6}}
    scatter = make_scatter({("g", "a"): runs(1), ("g", "b"): runs(2)}, costs=costs)
    titles = ["M multiply-adds", "G multiply-adds, paper's convention", "training, s"]
    assert [cost["title"] for cost in scatter.as_json()["costs"]] == titles
    assert [point.costs[1] for point in scatter.points] == [2.0, None]


def test_the_table_has_the_numbers_of_the_figure(report):
    columns = {column.header: column.texts for column in scatter_table(Scatter(report))}
    assert columns["M multiply-adds"][0] == "800"
    assert columns["on front by multiply adds"][0] == "100 %"
