"""Specs: frozen, validated hyper-parameters, readable from and written to JSON, with an identity.

A spec holds hyper-parameters only: no channels that the surrounding model determines, no devices.
Two specs are the same experiment exactly when their identities are equal.
"""

import datetime
import decimal
import difflib
import enum
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from quatrain.specs.errors import QuatrainError, SpecError, shorten

_RESERVED_NAMES = frozenset({"spec", "seed"})
_TEXT_TYPES = (
    enum.Enum,
    PurePath,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)
"""Types written as `str(value)`, which is the same in every process and unique to the value."""
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
"""The types of most fields: no containers, no specs."""


class CheckedModel(BaseModel):
    """A frozen model whose constructor states the first problem in an error of this library."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True
    )
    error_class: ClassVar[type[QuatrainError]] = SpecError

    if not TYPE_CHECKING:  # type checkers synthesize a signature for each subclass

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise self.error_class(*first_problem(type(self), error)) from None


class Spec(CheckedModel):
    """Base class of specs: frozen, keyword-only, and without unknown fields.

    `revision` is raised by hand when a default or the meaning of a field changes. It is part of the
    identity, so runs from before and after the change are never averaged.
    Values of fields have a canonical JSON form: numbers, strings, enums, paths, dates, other
    specs, and tuples, lists, sets and dictionaries of these; other values are refused at
    construction. `outside_identity` names fields that affect logging or storage but no result:
    changing one of them keeps finished runs valid.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        validate_default=True,
        allow_inf_nan=False,  # JSON has neither
    )
    revision: ClassVar[int] = 1
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse fields with the names of the identity's own keys."""
        reserved = _RESERVED_NAMES & cls.model_fields.keys()
        if reserved:
            raise TypeError(f"{cls.__name__} has fields with reserved names: {', '.join(reserved)}")

    @model_validator(mode="after")
    def _check_canonical_form(self) -> Self:
        try:
            canonical(self)
        except RecursionError:
            name = type(self).__name__
            raise SpecError(f"{name} is nested too deep; flatten its values", name) from None
        return self

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore a pickle or a copy; fields that an older version lacks have their defaults."""
        values = state["__dict__"]
        for name, field in type(self).model_fields.items():
            if name not in values and not field.is_required():
                values[name] = field.get_default(call_default_factory=True, validated_data=values)
        super().__setstate__(state)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a spec written by `to_json`.

        Raises:
            SpecError: if the text is not JSON or a field does not fit.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(*first_problem(cls, error)) from None

    def to_json(self) -> str:
        """All fields, defaults included, as indented JSON."""
        return self.model_dump_json(indent=2)


def canonical(spec: Spec) -> dict[str, Any]:
    """The class name, the revision and the fields that differ from their defaults, nested.

    Fields outside the identity are left out. A field that contains a spec, in any container, is
    included even at its default, because of the revision inside. Sets and dictionaries are sorted.
    1 and 1.0 differ if the field's type distinguishes them, as do 1 and True; -0.0 equals 0.0.

    Raises:
        SpecError: if a field has no canonical JSON form (possible after `model_copy` only).
    """
    document: dict[str, Any] = {}
    fields = dict(spec)
    for name, value in fields.items():
        if name in spec.outside_identity:
            continue
        form = _canonical_value(value, f"{type(spec).__name__}.{name}")
        if _contains_spec(value) or not _is_default(type(spec), name, fields):
            document[name] = form
    return {"spec": type(spec).__name__, "revision": spec.revision, **document}


def identity(spec: Spec, seed: int) -> str:
    """SHA-256 of the canonical JSON of `spec` and `seed`, in hexadecimal (64 digits)."""
    return identity_by_seed(spec)(seed)


def identity_by_seed(spec: Spec) -> Callable[[int], str]:
    """The function from a seed to `identity(spec, seed)`; computes the canonical JSON once."""
    document = canonical(spec)
    # Keys are sorted: "revision" comes before "seed", and "spec" after it.
    before = _json({key: value for key, value in document.items() if key < "seed"})
    after = _json({key: value for key, value in document.items() if key > "seed"})
    start, end = f'{before[:-1]},"seed":', f",{after[1:]}"

    def identity_of(seed: int) -> str:
        return hashlib.sha256(f"{start}{_json(seed)}{end}".encode()).hexdigest()

    return identity_of


def _json(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _is_default(owner: type[Spec], name: str, fields: dict[str, object]) -> bool:
    field, value = owner.model_fields[name], fields[name]
    if value is field.default:
        return True
    default: object = field.get_default(call_default_factory=True, validated_data=fields)
    return value == default and _count_booleans(value) == _count_booleans(default)


def _contains_spec(value: object) -> bool:
    return type(value) not in _PLAIN_TYPES and any(
        isinstance(leaf, Spec) for leaf in _leaves(value)
    )


def _count_booleans(value: object) -> int:
    return sum(isinstance(leaf, bool) for leaf in _leaves(value))


def _leaves(value: object) -> Iterator[object]:
    """The values inside nested containers."""
    if isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from _leaves(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in cast("tuple[object, ...]", value):
            yield from _leaves(item)
    else:
        yield value


def _canonical_value(value: object, field: str) -> Any:
    if type(value) in _PLAIN_TYPES:  # the others are slower to tell apart
        is_ascii = type(value) is str and value.isascii()
        return value if is_ascii or value is None else _canonical_leaf(value, field)
    if isinstance(value, Spec):
        return canonical(value)
    if isinstance(value, Mapping):
        return _canonical_mapping(cast("Mapping[object, object]", value), field)
    if isinstance(value, tuple | list):
        return [_canonical_value(item, field) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, set | frozenset):
        items = [_canonical_value(item, field) for item in cast("set[object]", value)]
        return sorted(items, key=_json)
    return _canonical_leaf(value, field)


def _canonical_mapping(mapping: Mapping[object, object], field: str) -> dict[str, Any]:
    forms: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(key, bool) or not isinstance(key, str | int | enum.Enum):
            raise _no_json(field, key, "use strings as keys")
        name = str(_canonical_leaf(key, field))
        if name in forms:
            raise _no_json(field, key, f"rename one of two keys that are {shorten(name)} in JSON")
        forms[name] = _canonical_value(value, field)
    return forms


def _canonical_leaf(value: object, field: str) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    if isinstance(value, str | int):
        try:
            str(value).encode()  # fails on lone surrogates and on numbers with too many digits
        except ValueError:
            raise _no_json(field, value, "change this value") from None
        return value
    if value is None:
        return value
    if isinstance(value, _TEXT_TYPES):
        return str(value)
    raise _no_json(field, value, "convert it to one of these types, or define a Spec for it")


def _no_json(field: str, value: object, remedy: str) -> SpecError:
    kinds = "finite numbers, strings, enums, paths, dates, specs, and containers of these"
    message = f"{field}={shorten(value)} has no canonical JSON form, as {kinds} have; {remedy}"
    return SpecError(message, field)


def first_problem(owner: type[BaseModel], error: ValidationError) -> tuple[str, str]:
    """The message and the field of an unknown field, or else of the first problem."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda each: each["type"] != "extra_forbidden")
    path = [str(part) for part in problem["loc"]]
    field, value = ".".join([owner.__name__, *path]), shorten(problem["input"])
    if problem["type"] == "extra_forbidden":
        return unknown_field(owner, path[-1])
    if problem["type"] == "missing":
        return f"{field} is missing", field
    if problem["type"] == "json_invalid":
        return f"the text is not the complete JSON of {owner.__name__}", field
    message = problem["msg"].removeprefix("Value error, ")
    if message.startswith("Input should"):
        return f"{field}={value} {message.removeprefix('Input ')}", field
    return f"{field}={value}: {message[:1].lower()}{message[1:]}", field


def unknown_field(owner: type[BaseModel], name: str) -> tuple[str, str]:
    """The message and the field of an error for a field that a model does not have."""
    names = list(owner.model_fields)
    similar = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    message = f"{owner.__name__} has no field {shorten(name)}; {hint}its fields are "
    return message + ", ".join(names), f"{owner.__name__}.{name}"
