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


@pytest.mark.parametrize("name", ["Seed", "a", "see", "seed_", "seeds", "spe", "specs", "z"])
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_the_identity_is_the_hash_of_sorted_json_wherever_a_field_stands(name, seed):
    spec = create_model("Named", __base__=Spec, **{name: (int, 0)})(**{name: 5})
    document = {"seed": seed, **canonical(spec)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert identity(spec, seed) == hashlib.sha256(text.encode()).hexdigest()


def test_the_canonical_form_reads_the_fields_once():
    read = []

    class Watched(Spec):
        a: int = 1
        b: int = 2
        c: int = 3

        def __iter__(self):
            read.append(self)
            return super().__iter__()

    spec = Watched(a=5)
    read.clear()
    assert canonical(spec) == {"spec": "Watched", "revision": 1, "a": 5}
    assert len(read) == 1


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


def turned_around(value):
    """The same value, its dictionaries and sets made in the opposite order."""
    if isinstance(value, dict):
        return {key: turned_around(value[key]) for key in reversed(value)}
    if isinstance(value, list | tuple):
        return type(value)(map(turned_around, value))
    return frozenset(reversed(list(value))) if isinstance(value, frozenset) else value


@given(nested)
def test_the_order_of_dictionaries_and_sets_at_any_depth_is_not_in_the_identity(value):
    assert identity(Holder(value=value), 0) == identity(Holder(value=turned_around(value)), 0)


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


def test_a_set_has_one_identity_in_every_process():
    """Texts hash otherwise in each process, which changes the order of their sets."""
    seen = [
        subprocess.run(
            [sys.executable, "-c", SETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(seen[0]) == 65
    assert len(set(seen)) == 1


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

    stated = Wrapped(parts=wrap(Part(terms="0110", heads=8)))
    assert identity(stated, 0) == identity(Wrapped(), 0)
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
    stated = canonical(Holder(value=value))["value"]
    assert stated == form
    assert json.dumps(stated, sort_keys=True) == json.dumps(form, sort_keys=True)  # 0.0 from -0.0


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
def test_what_has_no_one_form_in_json_is_refused_when_the_spec_is_made(value):
    with pytest.raises(SpecError, match=r"^Holder\.value is .*, expected .*: .*\.$"):
        Holder(value=value)


def test_a_container_that_holds_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(SpecError, match="nested too deep"):
        Holder(value=endless)


def test_true_is_not_one_even_where_one_is_the_default():
    class Either(Spec):
        limit: bool | int = 1
        limits: tuple[bool | int, ...] = (1, 2)

    identities = {
        identity(Either(limit=limit, limits=limits), 0)
        for limit in (1, True)
        for limits in ((1, 2), (True, 2))
    }
    assert len(identities) == 4


def test_minus_zero_is_zero():
    assert identity(Whole(rate=-0.0), 0) == identity(Whole(rate=0.0), 0)


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


def test_what_lies_outside_the_identity_need_not_have_a_canonical_form():
    class Loose(Spec):
        outside_identity: ClassVar = frozenset({"listener"})
        listener: Any = None

    assert identity(Loose(listener=print), 0) == identity(Loose(), 0)
