import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quatrain.results import (
    Comparison,
    Expectation,
    Failure,
    Manifest,
    ManifestCell,
    Record,
)
from quatrain.results.record import storable
from quatrain.specs import StudyError

FIELDS = {
    "cell": "1111",
    "identity": "ab" * 32,
    "seed": 3,
    "spec": {"model": {"width": 128}, "terms": "1111"},
    "spec_name": "TranslationSpec",
    "metrics": {"bleu": 31.5},
    "signatures": {"bleu": "nrefs:1"},
    "cost": {"parameters": 10.0},
    "versions": {"torch": "2"},
    "device": "cpu",
    "threads": 1,
    "commit": None,
    "data": {"train.de": "0" * 64},
    "artifacts": ("hypotheses.txt",),
    "steps": 100,
    "seconds": 1.5,
}


@given(
    st.dictionaries(st.text(), st.floats(-1e100, 1e100)),
    st.integers(min_value=0, max_value=2**63 - 1),
)
def test_a_record_is_read_back_from_json(metrics, seed):
    record = Record(**{**FIELDS, "metrics": metrics, "seed": seed})
    assert Record.model_validate_json(record.to_json()) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1.1e100])
@pytest.mark.parametrize("field", ["metrics", "cost"])
def test_a_number_that_is_not_finite_is_an_error(field, value):
    with pytest.raises(StudyError) as error:
        Record(**{**FIELDS, field: {"bleu": value}})
    assert error.value.field == f"Record.{field}.bleu"


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": -1},
        {"steps": 10**400},
        {"steps": 10**5000},
        {"seconds": -0.5},
        {"threads": -1},
        {"data_notes": {"left out": -3}},
        {"data_notes": {"left out": 2**63}},
        {"metrics": {"bleu": 10**400}},
        {"cost": {"multiply_adds": 1e200}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_numbers_out_of_range_are_an_error(changes):
    with pytest.raises(StudyError) as error:
        Record(**{**FIELDS, **changes})
    assert error.value.field.startswith(f"Record.{next(iter(changes))}")


def test_a_number_of_400_digits_in_json_is_an_error():
    text = Record(**FIELDS).to_json().replace('"steps": 100', f'"steps": {10**400}')
    with pytest.raises(StudyError) as error:
        Record.from_json(text, "delete it")
    assert error.value.field == "Record.steps"
    assert str(error.value).endswith("delete it")


def test_a_field_of_a_newer_version_is_kept():
    content = json.loads(Record(**FIELDS).to_json())
    content["energy_joules"] = 12.5
    content["earlier"] = [
        {"versions": {}, "device": "cpu", "threads": 1, "commit": None, "host": "a"}
    ]
    record = Record.from_json(json.dumps(content), "delete it")
    assert record.unknown == ("energy_joules", "host")
    assert json.loads(record.to_json())["energy_joules"] == 12.5
    assert Record.from_json(record.to_json(), "delete it") == record
    assert Record(**FIELDS).unknown == ()


def test_a_cell_of_a_newer_version_is_read_too():
    manifest = Manifest(title="t", question="q", metric="m", cells=(cell("a"),))
    text = manifest.to_json().replace('"name": "a"', '"name": "a", "colour": "red"')
    assert Manifest.from_json(text, "delete it").unknown == ("colour",)


@pytest.mark.parametrize(
    "at", ['{\n  "format": 1', '"cells": [\n    {\n      "format": 1'], ids=["whole", "cell"]
)
def test_the_remedy_for_a_newer_format_is_the_newer_version(at):
    text = Manifest(title="t", question="q", metric="m", cells=(cell("a"),)).to_json()
    assert at in text
    newer = text.replace(at, at.replace("1", "2")).replace('"group"', '"team"')
    with pytest.raises(StudyError) as error:
        Manifest.from_json(newer, "delete this file")
    assert str(error.value).endswith("use the newer quatrain that wrote it")


def test_damage_with_an_unknown_field_may_be_a_newer_version():
    text = Record(**FIELDS).to_json().replace('"seed": 3', '"seeds": [3]')
    with pytest.raises(StudyError) as error:
        Record.from_json(text, "delete it")
    assert "newer quatrain" in str(error.value)
    assert str(error.value).endswith("delete it")


@given(st.text(st.characters(codec=None)))
def test_any_text_of_an_exception_can_be_stored(text):
    failure = Failure(reason="error", message=text, traceback=text, step=0)
    stored = Failure.from_json(failure.to_json(), "delete it")
    assert stored.message == text.encode("utf-8", "backslashreplace").decode()
    failure.to_json().encode()


def test_a_file_name_that_is_no_utf_8_is_stored_with_escapes():
    failure = Failure(reason="error", message="caf\udce9.txt", traceback="", step=0)
    assert json.loads(failure.to_json())["message"] == "caf\\udce9.txt"
    named = Record(**{**FIELDS, "cell": "\udce9", "metrics": {"of \udce9": 1.0}})
    assert Record.from_json(named.to_json(), "delete it").metrics == {"of \\udce9": 1.0}


def test_an_unknown_or_missing_field_is_an_error():
    with pytest.raises(StudyError) as error:
        Record(**FIELDS, colour="red")
    assert error.value.field == "Record.colour"
    with pytest.raises(StudyError) as error:
        Record(**{name: value for name, value in FIELDS.items() if name != "device"})
    assert str(error.value).startswith("Record.device is missing")


def test_an_identity_that_is_no_name_of_a_folder_is_an_error():
    with pytest.raises(StudyError) as error:
        Record(**{**FIELDS, "identity": "../../etc/passwd"})
    assert error.value.field == "Record.identity"


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError):
        Record(**FIELDS).seed = 4


def test_the_reason_of_a_failure_is_one_of_four():
    with pytest.raises(StudyError) as error:
        Failure(reason="bad luck", message="", traceback="", step=0)
    assert error.value.field == "Failure.reason"


def cell(name: str, group: str = "self") -> ManifestCell:
    return ManifestCell(name=name, group=group, spec_name="S", identities={0: "0" * 64})


def test_a_manifest_is_read_back_from_json_with_integer_seeds():
    manifest = Manifest(
        title="t",
        question="q",
        metric="bleu",
        cells=(cell("a"), cell("b"), cell("a", "cross")),
        comparisons=(Comparison(left="a", right="b", group="self"),),
    )
    again = Manifest.model_validate_json(manifest.to_json())
    assert again == manifest
    assert list(again.cells[0].identities) == [0]


def better(declared):
    """The directions of a primary, a compared and two further metrics."""
    made = Manifest(title="t", question="q", metric="bleu", compared_in="chrf", cells=(),
                    lower_is_better=declared)  # fmt: skip
    read = Manifest.from_json(made.to_json(), "")
    assert read == made
    return [read.better(name) for name in ("bleu", "chrf", "loss", "ter")]


def test_directions_are_declared_for_the_compared_metrics_or_by_metric():
    assert better(declared=False) == [1, 1, 0, 0]
    assert better(declared=True) == [-1, -1, 0, 0]
    assert better({"loss": True}) == [1, 1, -1, 0]
    assert better({"chrf": True, "ter": False}) == [1, -1, 0, 1]


def test_two_cells_of_one_name_in_a_group_are_an_error():
    with pytest.raises(StudyError):
        Manifest(title="t", question="q", metric="m", cells=(cell("a"), cell("a")))


def test_a_comparison_in_a_manifest_without_cells_is_an_error():
    comparison = Comparison(left="a", right="b", group="g")
    with pytest.raises(StudyError) as error:
        Manifest(title="t", question="q", metric="m", cells=(), comparisons=(comparison,))
    assert error.value.field == "comparisons"


def test_a_comparison_of_an_unknown_cell_names_the_known_ones():
    with pytest.raises(StudyError) as error:
        Manifest(
            title="t",
            question="q",
            metric="m",
            cells=(cell("a"), cell("b"), cell("c", "cross")),
            comparisons=(Comparison(left="a", right="c", group="self"),),
        )
    assert "self/a, self/b" in str(error.value)


@pytest.mark.parametrize(
    ("low", "high", "bounds", "within", "outside"),
    [
        (95, None, "≥ 95", [95, 100], [94.9]),
        (None, 25, "≤ 25", [0, 25], [25.1]),
        (10.5, 20, "10.5 to 20", [10.5, 20], [10.4, 20.1]),
    ],
)
def test_an_expectation_is_met_within_its_bounds(low, high, bounds, within, outside):
    expected = Expectation(low=low, high=high, because="a reason")
    assert expected.bounds == bounds
    assert all(expected.met_by(value) for value in within)
    assert not any(expected.met_by(value) for value in outside)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"because": "x"}, "Expectation"),
        ({"low": 3, "high": 2, "because": "x"}, "Expectation.low"),
        ({"low": 3, "because": " "}, "Expectation.because"),
        ({"low": 3}, "Expectation.because"),
        ({"low": math.nan, "because": "x"}, "Expectation.low"),
        ({"least": 3, "because": "x"}, "Expectation.least"),
    ],
)
def test_an_expectation_without_bounds_or_a_reason_is_an_error(fields, field):
    with pytest.raises(StudyError) as error:
        Expectation(**fields)
    assert error.value.field == field


def test_an_expectation_is_read_back_with_the_manifest():
    cell = ManifestCell(
        name="0010",
        group="saliency",
        spec_name="ProbeSpec",
        identities={0: "ab" * 32},
        expected=Expectation(low=95, because="it has E3"),
    )
    manifest = Manifest(title="t", question="q?", metric="accuracy", cells=(cell,))
    assert Manifest.model_validate_json(manifest.to_json()) == manifest


ANY_TEXT = st.text(st.characters())  # with lone surrogates


@given(ANY_TEXT)
def test_storable_text_can_be_encoded_and_stays_as_it_is(text):
    stored = storable(text)
    assert stored.encode().decode() == stored
    assert storable(stored) == stored


@pytest.mark.parametrize("text", ["", "plain", "é 漢 😀", "a\x00b\x1b[1m\n"])
def test_text_that_is_fine_is_not_touched(text):
    assert storable(text) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [("caf\udce9", "caf\\udce9"), ("\ud83d", "\\ud83d"), ("\ude00\ud83d", "\\ude00\\ud83d")],
)
def test_lone_surrogates_are_written_out(text, stored):
    assert storable(text) == stored


@given(st.text(st.characters(), min_size=60), st.integers(100, 200), st.integers(1, 2_000))
def test_of_a_long_text_both_ends_stay_within_the_limit(text, limit, times):
    text = storable(text * times)
    stored = storable(text, limit)
    assert len(stored) <= limit
    assert storable(stored, limit) == stored
    if len(text) > limit:
        side = (limit - 50) // 2
        assert stored[:side] + stored[-side:] == text[:side] + text[-side:]
        assert f"{len(text) - 2 * side:,} characters left out" in stored
    else:
        assert stored == text
