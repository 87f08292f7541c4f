import json
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from quatrain.specs import ALL_TERM_SETS, Spec, SpecError, Term, Terms, canonical, identity


class Part(Spec):
    terms: Terms = Term.parse("0110")
    heads: int = Field(default=8, ge=1)


class Whole(Spec):
    kind: Literal["whole"] = "whole"
    rate: float = 0.1
    part: Part | None = Part()
    sizes: tuple[int, ...] = ()


parts = st.builds(Part, terms=st.sampled_from(ALL_TERM_SETS), heads=st.integers(1, 99))
wholes = st.builds(
    Whole,
    rate=st.floats(allow_nan=False, allow_infinity=False).map(abs),
    part=st.none() | parts,
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
)


def test_the_identity_of_a_spec_does_not_change_from_day_to_day():
    """It names run folders: where this fails, every finished run would be lost to its study."""
    pinned = "5cb7e1ca89617aadb66271916c3d6abf"
    assert identity(Whole(rate=0.5, part=Part(terms="1111")), seed=3)[:32] == pinned


@given(wholes)
def test_a_spec_is_read_back_from_its_json_with_the_same_identity(spec):
    copy = Whole.from_json(spec.to_json())
    assert copy == spec
    assert identity(copy, 0) == identity(spec, 0)


@given(wholes, wholes)
def test_two_specs_have_one_identity_exactly_when_they_are_equal(left, right):
    assert (identity(left, 0) == identity(right, 0)) == (left == right)


@given(st.integers(), st.integers())
def test_the_seed_is_part_of_the_identity(left, right):
    assert (identity(Whole(), left) == identity(Whole(), right)) == (left == right)


def test_stating_a_default_does_not_change_the_identity():
    stated = Whole(rate=0.1, part=Part(terms="0110", heads=8), sizes=())
    assert identity(stated, 0) == identity(Whole(), 0)


def test_a_field_added_with_a_default_does_not_change_the_identity():
    class Before(Spec):
        rate: float = 0.1

    class After(Before):
        added: bool = False

    After.__name__ = "Before"
    assert identity(After(), 0) == identity(Before(), 0)


def test_a_field_outside_the_identity_may_change_under_a_finished_run():
    class Watched(Whole):
        outside_identity: ClassVar = frozenset({"report_every"})
        report_every: int = 50

    class Holder(Spec):
        watched: Watched = Watched()

    seldom = Holder(watched=Watched(report_every=100))
    assert seldom != Holder()
    assert identity(seldom, 0) == identity(Holder(), 0)
    assert Holder.from_json(seldom.to_json()) == seldom
    assert identity(Holder(watched=Watched(rate=0.5)), 0) != identity(Holder(), 0)


@pytest.mark.parametrize("raised", [Whole, Part])
def test_raising_a_revision_changes_the_identity_even_of_what_only_holds_it(raised, monkeypatch):
    before = identity(Whole(), 0)
    monkeypatch.setattr(raised, "revision", 2)
    assert identity(Whole(), 0) != before


def test_specs_of_different_classes_differ():
    class Other(Part):
        pass

    assert identity(Other(), 0) != identity(Part(), 0)


def test_the_canonical_form_is_plain_json():
    document = canonical(Whole(sizes=(1, 2)))
    assert json.loads(json.dumps(document)) == document
    assert document["sizes"] == [1, 2]
    assert "rate" not in document


def test_terms_are_their_digits_in_json():
    assert json.loads(Part().to_json())["terms"] == "0110"


def test_a_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Part().heads = 4


def test_an_unknown_field_is_named_with_those_that_exist():
    expected = r"Part.haeds is 4, expected one of the fields terms, heads: mend the spelling\."
    with pytest.raises(SpecError, match=expected):
        Part(haeds=4)


def test_a_field_inside_a_nested_spec_is_named_with_the_class_that_holds_it():
    with pytest.raises(SpecError, match=r"^Part\.heads is 0, expected .* greater"):
        Whole.from_json('{"part": {"heads": 0}}')


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rate": NaN}', '{"rate": 1e999}'])
def test_text_that_is_no_spec_is_refused_in_a_sentence(text):
    with pytest.raises(SpecError, match=r"^Whole.* is .*, expected .*: mend this field\.$"):
        Whole.from_json(text)


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(rate):
    with pytest.raises(SpecError, match=r"^Whole\.rate is"):
        Whole(rate=rate)


def test_a_wrong_term_string_in_json_is_the_sentence_of_the_terms():
    with pytest.raises(SpecError, match='terms is "1201", expected four digits'):
        Part.from_json('{"terms": "1201"}')


def test_a_revision_is_no_field():
    class Revised(Spec):
        revision: ClassVar[int] = 7

    assert canonical(Revised()) == {"spec": "Revised", "revision": 7}


@pytest.mark.parametrize("name", ["seed", "spec"])
def test_no_field_takes_a_name_that_the_identity_uses_for_itself(name):
    with pytest.raises(TypeError, match=name):
        create_model("Clashing", __base__=Spec, **{name: (int, 0)})
