import csv
import io
import json
import math
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from quatrain.report.build import load_report
from quatrain.report.document import (
    differences_as_json,
    effects_as_json,
    report_document,
    rows_as_json,
    to_json,
)
from quatrain.report.render import to_csv
from quatrain.results import Comparison, ResultStore

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SCHEMA = json.loads((resources.files("quatrain.report") / "report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def refuse(text):
    raise AssertionError(f"{text} is not JSON")


def written(report):
    """The document as a strict reader has it, after validation."""
    document = json.loads(to_json(report_document(report)), parse_constant=refuse)
    VALIDATOR.validate(document)
    return document


def test_the_schema_is_one_and_each_object_of_it_is_closed():
    VALIDATOR.check_schema(SCHEMA)
    for definition in (SCHEMA, *SCHEMA["$defs"].values()):
        if definition.get("type") == "object":
            assert "additionalProperties" in definition
            closed = definition["additionalProperties"] is False
            assert not closed or set(definition["required"]) == set(definition["properties"])


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("*/study.json")), ids=lambda p: p.parent.name
)
def test_documents_of_published_studies_are_valid(folder):
    document = written(load_report(ResultStore(folder.parent)))
    assert document["study"]["runs_done"] > 0
    assert document["diagnostics"]


@pytest.mark.parametrize("name", ["report", "matrix_report", "grid_report", "hostile_report"])
def test_documents_of_other_studies_are_valid(request, name):
    report = request.getfixturevalue(name)
    document = written(report)
    assert len(document["cells"]) == len(report.full_study.manifest.cells)
    assert len(document["found"]) == len(report.sentences)
    assert {each["text"] for each in document["notes"]} == {
        note.text for note in report.table.notes
    }


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"cells": [{"group": "g"}]},
        {"extra": 1},
        {"references": ["a", "a"]},
        {"found": [{"mark": "maybe", "word": "", "group": "", "text": ""}]},
    ],
)
def test_other_documents_are_refused(report, change):
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(report_document(report) | change)


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": math.nan})


def test_names_have_no_invisible_characters():
    assert "\u202e" not in to_json({"name": "\u202eevil"})


EXTREME = (1e100, -1e100, 1e99, 5e-324, 0.0, 1e-200, 1e-190)


@pytest.mark.parametrize("variance", ["pooled", "separate"])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_extreme_numbers_give_a_document(make_report, variance, seeds):
    values = {
        ("g", f"c{n}"): {s: {"bleu": EXTREME[(n + s) % len(EXTREME)]} for s in range(seeds)}
        for n in range(len(EXTREME))
    }
    comparisons = tuple(Comparison(group="g", left="c0", right=f"c{n}") for n in range(1, 7))
    made = make_report(values, comparisons=comparisons, variance=variance, margin=1e-90)
    assert len(written(made)["differences"]) == 6


@pytest.mark.parametrize(
    "values", [(1e-200, 2e-200, 4e-200), (1e100, -1e100, 5e99), (7.0, 7.0, 7.0)]
)
def test_tiny_huge_and_equal_values_give_a_document(make_report, values):
    cells = {
        ("g", cell): {s: {"bleu": sign * v} for s, v in enumerate(values)}
        for cell, sign in (("a", 1), ("b", -1))
    }
    comparisons = (Comparison(group="g", left="a", right="b"),)
    written(make_report(cells, comparisons=comparisons, margin=0.5))


def test_no_finished_run_gives_a_document(make_report):
    comparisons = (Comparison(group="g", left="a", right="b"),)
    document = written(make_report({("g", "a"): {}, ("g", "b"): {}}, comparisons=comparisons))
    assert document["differences"][0]["verdict"] == "not run"
    assert (document["diagnostics"], document["references"]) == ([], [])


def test_a_metric_may_be_missing_in_some_records(make_report):
    values = {
        ("g", "a"): {0: {"bleu": 1.0, "x": 2.0}, 1: {"bleu": 1.5}},
        ("g", "b"): {0: {"bleu": 2.0}},
    }
    rows = written(make_report(values))["cells"]
    assert [row["x"] for row in rows] == [2.0, None]


def test_cells_keep_every_digit_in_base_units(report):
    rows = rows_as_json(report.table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len({tuple(row) for row in rows}) == 1
    assert [list(line) for line in lines] == [list(row) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert line == {key: "" if value is None else str(value) for key, value in row.items()}
    assert rows[0]["multiply_adds"] == 8e8


def test_unknown_differences_are_null(report):
    rows = differences_as_json(report.differences)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert (rows[2]["mean"], rows[2]["welch_low"], rows[2]["verdict"]) == (None, None, "not run")
    assert rows[0]["multiply_adds_difference"] == pytest.approx(2e8)
    assert rows[0]["paper_multiply_adds_difference"] is None


def test_differences_have_the_interval_of_the_pair_alone(report):
    from scipy import stats

    row = differences_as_json(report.differences)[0]
    left, right = (31.0, 31.4, 31.1), (29.9, 30.1, 30.2)
    expected = stats.ttest_ind(left, right, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert [row["welch_low"], row["welch_high"]] == pytest.approx([low, high])
    assert [row["welch_p"], row["welch_df"]] == pytest.approx([expected.pvalue, expected.df])


def test_effects_are_flat_rows_with_one_set_of_keys(grid_report):
    (effects,) = grid_report.effects
    rows = effects_as_json(effects, "bleu")
    assert len(rows) == 4 + 6 + 8 + 4
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    e3 = next(row for row in rows if (row["effect"], row["terms"]) == ("main effect", "E3"))
    assert (e3["mean"], e3["of_complete_grid"]) == (pytest.approx(3, abs=0.1), 8)
    assert e3["multiply_adds_difference"] == pytest.approx(1e8)
    assert e3["paper_multiply_adds_difference"] is None


def test_expectations_are_columns_only_if_there_are_some(matrix_report, report):
    rows = rows_as_json(matrix_report.table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["as_expected"] for row in rows[:2]] == [True, False]
    assert rows[2]["because"] is None
    assert to_csv(rows).splitlines()[0].endswith("expected_low,expected_high,as_expected,because")
    assert "because" not in rows_as_json(report.table)[0]
