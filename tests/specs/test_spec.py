import datetime
import decimal
import enum
import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
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


class Holder(Spec):
    value: Any = None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.Flag):
    WIDE = enum.auto()
    HIGH = enum.auto()


parts = st.builds(Part, terms=st.sampled_from(ALL_TERM_SETS), heads=st.integers(1, 99))
wholes = st.builds(
    Whole,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    part=st.none() | parts,
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
)


def test_the_identity_of_a_spec_is_stable_across_versions():
    """It names run folders: if this fails, studies do not find their finished runs."""
    pinned = "5cb7e1ca89617aadb66271916c3d6abf"
    assert identity(Whole(rate=0.5, part=Part(terms="1111")), seed=3)[:32] == pinned


@given(wholes)
def test_a_spec_is_read_back_from_its_json_with_the_same_identity(spec):
    copy = Whole.from_json(spec.to_json())
    assert copy == spec
    assert identity(copy, 0) == identity(spec, 0)


@given(wholes, wholes)
def test_two_specs_have_the_same_identity_exactly_when_they_are_equal(left, right):
    assert (identity(left, 0) == identity(right, 0)) == (left == right)


@given(st.integers(), st.integers())
def test_the_seed_is_part_of_the_identity(left, right):
    assert (identity(Whole(), left) == identity(Whole(), right)) == (left == right)


@pytest.mark.parametrize("name", ["Seed", "a", "see", "seed_", "seeds", "spe", "specs", "z"])
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_the_identity_is_the_hash_of_sorted_json_for_any_order_of_field_names(name, seed):
    spec = create_model("Named", __base__=Spec, **{name: (int, 0)})(**{name: 5})
    document = {"seed": seed, **canonical(spec)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert identity(spec, seed) == hashlib.sha256(text.encode()).hexdigest()


def test_the_canonical_form_reads_the_fields_once():
    reads = []

    class Watched(Spec):
        a: int = 1
        b: int = 2
        c: int = 3

        def __iter__(self):
            reads.append(self)
            return super().__iter__()

    spec = Watched(a=5)
    reads.clear()
    assert canonical(spec) == {"spec": "Watched", "revision": 1, "a": 5}
    assert len(reads) == 1


def test_an_explicit_default_does_not_change_the_identity():
    explicit = Whole(rate=0.1, part=Part(terms="0110", heads=8), sizes=())
    assert identity(explicit, 0) == identity(Whole(), 0)


def test_a_field_added_with_a_default_does_not_change_the_identity():
    class Before(Spec):
        rate: float = 0.1

    class After(Before):
        added: bool = False

    After.__name__ = "Before"
    assert identity(After(), 0) == identity(Before(), 0)


def test_a_field_outside_the_identity_does_not_change_it():
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
def test_a_raised_revision_changes_the_identity_also_of_specs_that_contain_the_class(
    raised, monkeypatch
):
    before = identity(Whole(), 0)
    monkeypatch.setattr(raised, "revision", 2)
    assert identity(Whole(), 0) != before


def test_specs_of_different_classes_differ():
    class Other(Part):
        pass

    assert identity(Other(), 0) != identity(Part(), 0)


def test_terms_are_their_digits_in_json():
    assert json.loads(Part().to_json())["terms"] == "0110"


def test_a_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Part().heads = 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("haeds", "Part has no field 'haeds'; did you mean heads? its fields are terms, heads"),
        ("x", "Part has no field 'x'; its fields are terms, heads"),
    ],
)
def test_an_unknown_field_is_refused_with_the_known_fields_and_the_closest(name, message):
    with pytest.raises(SpecError) as caught:
        Part(**{name: 4})
    assert (str(caught.value), caught.value.field) == (message, f"Part.{name}")


def test_a_field_inside_a_nested_spec_is_named_with_the_class_that_has_it():
    with pytest.raises(SpecError) as caught:
        Whole.from_json('{"part": {"heads": 0}}')
    assert caught.value.field == "Part.heads"
    assert str(caught.value) == "Part.heads=0 should be greater than or equal to 1"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rate": NaN}', '{"rate": 1e999}'])
def test_text_that_is_not_a_spec_is_refused(text):
    with pytest.raises(SpecError) as caught:
        Whole.from_json(text)
    assert caught.value.field.startswith("Whole")


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(rate):
    with pytest.raises(SpecError) as caught:
        Whole(rate=rate)
    assert caught.value.field == "Whole.rate"


def test_an_invalid_term_set_in_json_is_refused():
    with pytest.raises(SpecError) as caught:
        Part.from_json('{"terms": "1201"}')
    assert caught.value.field == "terms"
    assert "'1201'" in str(caught.value)


def test_a_revision_is_not_a_field():
    class Revised(Spec):
        revision: ClassVar[int] = 7

    assert canonical(Revised()) == {"spec": "Revised", "revision": 7}


@pytest.mark.parametrize("name", ["seed", "spec"])
def test_field_names_that_the_identity_uses_are_refused(name):
    with pytest.raises(TypeError, match=name):
        create_model("Clashing", __base__=Spec, **{name: (int, 0)})


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([*Color, Size.WIDE, Size.WIDE | Size.HIGH, Part(), Part(heads=3)])
)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(st.integers() | st.text(), max_size=3)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def reverse_order(value):
    """The same value, with dictionaries and sets filled in the opposite order."""
    if isinstance(value, dict):
        return {key: reverse_order(value[key]) for key in reversed(value)}
    if isinstance(value, list | tuple):
        return type(value)(map(reverse_order, value))
    return frozenset(reversed(list(value))) if isinstance(value, frozenset) else value


@given(nested)
def test_the_order_of_dictionaries_and_sets_at_any_depth_is_not_in_the_identity(value):
    assert identity(Holder(value=value), 0) == identity(Holder(value=reverse_order(value)), 0)


@given(nested)
def test_the_canonical_form_of_any_container_is_plain_json(value):
    document = canonical(Holder(value=value))
    assert json.loads(json.dumps(document, allow_nan=False)) == document


SETS = """
from typing import Any
from quatrain.specs import Spec, identity
class Sets(Spec):
    names: frozenset[str] = frozenset()
    inner: Any = None
names = frozenset("abcdefgh")
print(identity(Sets(names=names, inner={"deep": [set(names), (names,)]}), 0))
"""


def test_a_set_has_the_same_identity_in_every_process():
    """The hash of a string, and so the order of a set, differs between processes."""
    identities = [
        subprocess.run(
            [sys.executable, "-c", SETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(identities[0]) == 65
    assert len(set(identities)) == 1


@pytest.mark.parametrize(
    "wrap",
    [
        lambda part: (part,),
        lambda part: [part],
        lambda part: {"key": part},
        lambda part: ({"key": [part]},),
    ],
    ids=["tuple", "list", "dictionary", "nested"],
)
def test_a_spec_within_a_container_keeps_its_revision_and_drops_its_defaults(wrap, monkeypatch):
    class Wrapped(Spec):
        parts: Any = wrap(Part())

    explicit = Wrapped(parts=wrap(Part(terms="0110", heads=8)))
    assert identity(explicit, 0) == identity(Wrapped(), 0)
    assert identity(Wrapped(parts=wrap(Part(heads=4))), 0) != identity(Wrapped(), 0)
    before = identity(Wrapped(), 0)
    monkeypatch.setattr(Part, "revision", 2)
    assert identity(Wrapped(), 0) != before


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Color.RED, "Color.RED"),
        (Size.WIDE | Size.HIGH, "Size.WIDE|HIGH"),
        (Term.parse("0110"), "0110"),
        (PurePosixPath("a/b"), "a/b"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (decimal.Decimal("0.10"), "0.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (np.float64(0.1), 0.1),
        (-0.0, 0.0),
        ({"b": (1, {2}), "a": None}, {"a": None, "b": [1, [2]]}),
        ({1: "one", Color.RED: "red"}, {"1": "one", "Color.RED": "red"}),
        (frozenset({"b", "a"}), ["a", "b"]),
    ],
)
def test_a_value_has_this_canonical_form(value, form):
    result = canonical(Holder(value=value))["value"]
    assert result == form
    assert json.dumps(result, sort_keys=True) == json.dumps(form, sort_keys=True)  # 0.0 from -0.0


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("inf")],
        b"bytes",
        print,
        int,
        object(),
        1j,
        range(3),
        np.float32(0.5),
        np.int64(3),
        np.zeros(2),
        10**5000,
        "half \udce9",
        {"half \udce9": 1},
        {1: "a", "1": "b"},
        {True: "a"},
        {1.5: "a"},
        {(1, 2): "a"},
        {"deep": [({1, 2}, {"deeper": b""})]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_canonical_json_form_is_refused_at_construction(value):
    with pytest.raises(SpecError) as caught:
        Holder(value=value)
    assert caught.value.field == "Holder.value"


def test_a_container_that_holds_itself_is_refused():
    recursive = []
    recursive.append(recursive)
    with pytest.raises(SpecError) as caught:
        Holder(value=recursive)
    assert caught.value.field == "Holder"


def test_true_and_one_differ_also_where_one_is_the_default():
    class Either(Spec):
        limit: bool | int = 1
        limits: tuple[bool | int, ...] = (1, 2)

    identities = {
        identity(Either(limit=limit, limits=limits), 0)
        for limit in (1, True)
        for limits in ((1, 2), (True, 2))
    }
    assert len(identities) == 4


def test_a_default_from_a_factory_is_left_out_too():
    class Before(Spec):
        rate: float = 0.1

    class After(Before):
        names: dict[str, int] = Field(default_factory=dict)
        doubled: float = Field(default_factory=lambda data: 2 * data["rate"])

    After.__name__ = "Before"
    assert identity(After(), 0) == identity(Before(), 0)
    assert identity(After(doubled=0.2), 0) == identity(Before(), 0)
    assert identity(After(names={"a": 1}), 0) != identity(Before(), 0)


def test_a_field_outside_the_identity_needs_no_canonical_form():
    class Loose(Spec):
        outside_identity: ClassVar = frozenset({"listener"})
        listener: Any = None

    assert identity(Loose(listener=print), 0) == identity(Loose(), 0)
