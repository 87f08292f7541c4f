"""Specs: frozen descriptions of what to build, to and from JSON, with an identity.

A spec holds hyper-parameters and nothing else: no widths that follow from its surroundings, no
paths, no devices. Two specs are the same experiment exactly when their identities are equal.
"""

import datetime
import decimal
import enum
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from quatrain.specs.errors import SpecError

_RESERVED = frozenset({"spec", "seed"})
_WRITTEN_AS_TEXT = (
    enum.Enum,
    PurePath,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)
"""Types whose `str` is the same in each process and tells unequal values apart."""


class Spec(BaseModel):
    """The base of every spec: frozen, keyword-only, and closed to unknown fields.

    `revision` is raised by hand when a default, or what a field means, changes: it is part of
    the identity, so runs from before the change are never averaged with runs from after it.
    Fields hold what the identity can be made of: numbers, texts, enums, paths, dates, other specs,
    and tuples, lists, sets and dictionaries of these; anything else is refused at construction.
    `outside_identity` names the fields that decide what is seen or saved of a run on its way, and
    never its result: changing one of them keeps the runs that are done.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # JSON has neither
    )
    revision: ClassVar[int] = 1
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Keep fields from taking the names that the identity uses for itself."""
        taken = _RESERVED & cls.model_fields.keys()
        if taken:
            raise TypeError(f"{cls.__name__} has fields of reserved names: {', '.join(taken)}")

    @model_validator(mode="after")
    def _refuse_what_has_no_identity(self) -> Self:
        try:
            canonical(self)
        except RecursionError:
            name = type(self).__name__
            raise SpecError(
                name, "nested too deep", "values within a few others", "take them out of each other"
            ) from None
        return self

    if not TYPE_CHECKING:  # the checker synthesises a precise signature for each subclass

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _first_problem(type(self), error) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a spec written by `to_json`.

        Raises:
            SpecError: if the text is not JSON or a field does not fit.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _first_problem(cls, error) from None

    def to_json(self) -> str:
        """All fields, defaults included, as indented JSON."""
        return self.model_dump_json(indent=2)


def canonical(spec: Spec) -> dict[str, Any]:
    """The fields that differ from their defaults, with the class name and revision, nested.

    Fields outside the identity are left out. A field that holds a spec, in whatever container, is
    written out even at its default: the revision inside counts. Sets and dictionaries are sorted.
    1 and 1.0 differ where the field's type keeps them apart, as do 1 and True; -0.0 is 0.0.

    Raises:
        SpecError: if a field holds what JSON cannot, as it may after `model_copy` only.
    """
    stated: dict[str, Any] = {}
    fields = dict(spec)
    for name, value in fields.items():
        if name in spec.outside_identity:
            continue
        form = _canonical_value(value, f"{type(spec).__name__}.{name}")
        if _holds_spec(value) or not _is_default(type(spec), name, fields):
            stated[name] = form
    return {"spec": type(spec).__name__, "revision": spec.revision, **stated}


def identity(spec: Spec, seed: int) -> str:
    """SHA-256 of the canonical JSON of `spec` and `seed`, in hexadecimal (64 digits)."""
    return identity_by_seed(spec)(seed)


def identity_by_seed(spec: Spec) -> Callable[[int], str]:
    """The function from a seed to `identity(spec, seed)`; the canonical JSON is made once."""
    document = canonical(spec)
    # Keys are sorted: "revision" comes before "seed", and "spec" after it.
    before = _text({key: value for key, value in document.items() if key < "seed"})
    after = _text({key: value for key, value in document.items() if key > "seed"})
    start, end = f'{before[:-1]},"seed":', f",{after[1:]}"

    def of(seed: int) -> str:
        return hashlib.sha256(f"{start}{_text(seed)}{end}".encode()).hexdigest()

    return of


def _text(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _is_default(owner: type[Spec], name: str, fields: dict[str, object]) -> bool:
    field, value = owner.model_fields[name], fields[name]
    default: object = field.get_default(call_default_factory=True, validated_data=fields)
    return value == default and _count_booleans(value) == _count_booleans(default)


def _holds_spec(value: object) -> bool:
    return any(isinstance(leaf, Spec) for leaf in _leaves(value))


def _count_booleans(value: object) -> int:
    return sum(isinstance(leaf, bool) for leaf in _leaves(value))


def _leaves(value: object) -> Iterator[object]:
    """What containers within containers hold in the end."""
    if isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from _leaves(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in cast("tuple[object, ...]", value):
            yield from _leaves(item)
    else:
        yield value


def _canonical_value(value: object, field: str) -> Any:
    if isinstance(value, Spec):
        return canonical(value)
    if isinstance(value, Mapping):
        return _canonical_mapping(cast("Mapping[object, object]", value), field)
    if isinstance(value, tuple | list):
        return [_canonical_value(item, field) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, set | frozenset):
        items = [_canonical_value(item, field) for item in cast("set[object]", value)]
        return sorted(items, key=_text)
    return _canonical_leaf(value, field)


def _canonical_mapping(mapping: Mapping[object, object], field: str) -> dict[str, Any]:
    forms: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(key, bool) or not isinstance(key, str | int | enum.Enum):
            raise _no_json(field, key, "write its keys as texts")
        name = str(_canonical_leaf(key, field))
        if name in forms:
            raise _no_json(field, key, f'two keys are "{name}" in JSON: rename one')
        forms[name] = _canonical_value(value, field)
    return forms


def _canonical_leaf(value: object, field: str) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    if isinstance(value, str | int):
        try:
            str(value).encode()  # neither half a character nor more digits than Python writes
        except ValueError:
            raise _no_json(field, value, "mend this field") from None
        return value
    if value is None:
        return value
    if isinstance(value, _WRITTEN_AS_TEXT):
        return str(value)
    raise _no_json(field, value, "write it as one of these, or as a Spec of its own")


def _no_json(field: str, value: object, remedy: str) -> SpecError:
    kinds = "finite numbers, texts, enums, paths, dates, specs, and containers of these"
    return SpecError(field, value, f"a value that has one form in JSON ({kinds})", remedy)


def _first_problem(owner: type[Spec], error: ValidationError) -> SpecError:
    problem = error.errors()[0]
    field = ".".join([owner.__name__, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(owner.model_fields)
        return SpecError(field, problem["input"], f"one of the fields {known}", "mend the spelling")
    message = problem["msg"]
    return SpecError(field, problem["input"], message[:1].lower() + message[1:], "mend this field")
