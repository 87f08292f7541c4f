import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.columns import text_column
from quatrain.report.page.cell_rows import build_cells, build_grid
from quatrain.report.ranking import mark_best


@pytest.fixture
def make_report(tmp_path):
    def make(means, noise=(0.0, 0.2, -0.2), **fields):
        values = {
            ("g", cell): {
                s: {"accuracy": mean + (-1) ** n * x, **{f"m{i}": 1.0 for i in range(12)}}
                for s, x in enumerate(noise)
            }
            for n, (cell, mean) in enumerate(means.items())
        }
        return load_report(write_results(tmp_path, values, **fields))

    return make


MEANS = {"a": 10.0, "b": 20.0, "c": 20.1}


def test_the_best_and_those_tied_with_it_are_marked(make_report):
    assert mark_best(make_report(MEANS), "accuracy") == ["", "tied", "best"]


def test_the_lowest_is_best_where_the_study_declares_it(make_report):
    report = make_report(MEANS, lower_is_better=True)
    assert mark_best(report, "accuracy") == ["best", "", ""]


def test_equal_cells_are_both_best_and_one_seed_has_no_ties(make_report):
    assert mark_best(make_report({"a": 1.0, "b": 1.0}, (0.0,)), "accuracy") == ["best", "best"]
    assert mark_best(make_report(MEANS, (0.0,)), "accuracy") == ["", "", "best"]


def test_marks_stand_in_the_column_of_the_metric(make_report):
    grid = build_cells(make_report(MEANS))
    place = [column.header for column in grid.columns].index("accuracy")
    assert [row[place].mark for row in grid.rows] == ["", "tied", "best"]
    assert {row[0].mark for row in grid.rows} == {""}


def test_a_wide_table_hides_minor_metrics_at_first(make_report):
    grid = build_cells(make_report(MEANS))
    hidden = {grid.columns[place].header for place in grid.hidden}
    assert "m11" in hidden
    assert not {"accuracy", "cell"} & hidden


def test_grid_of_columns_is_by_rows():
    grid = build_grid([text_column("x", ["1", "2"]), text_column("y", ["3", "4"])])
    assert [[cell.text for cell in row] for row in grid.rows] == [["1", "3"], ["2", "4"]]
