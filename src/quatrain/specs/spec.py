"""Specs: frozen descriptions of what to build, to and from JSON, with an identity.

A spec holds hyper-parameters and nothing else: no widths that follow from its surroundings, no
paths, no devices. Two specs are the same experiment exactly when their identities are equal.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from quatrain.specs.errors import SpecError

_RESERVED = frozenset({"spec", "seed"})


class Spec(BaseModel):
    """The base of every spec: frozen, keyword-only, and closed to unknown fields.

    `revision` is raised by hand when a default, or what a field means, changes: it is part of
    the identity, so runs from before the change are never averaged with runs from after it.
    `outside_identity` names the fields that decide what is seen or saved of a run on its way, and
    never its result: changing one of them keeps the runs that are done.
    """

    model_config = ConfigDict(
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

    Fields outside the identity are left out. A field that holds a spec is written out even at its
    default: the revision inside counts.
    """
    stated = {
        name: _canonical_value(value)
        for name, value in spec
        if name not in spec.outside_identity
        and (isinstance(value, Spec) or value != type(spec).model_fields[name].default)
    }
    return {"spec": type(spec).__name__, "revision": spec.revision, **stated}


def identity(spec: Spec, seed: int) -> str:
    """SHA-256 of the canonical JSON of `spec` and `seed`, in hexadecimal (64 digits)."""
    document = {"seed": seed, **canonical(spec)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical_value(value: object) -> Any:
    if isinstance(value, Spec):
        return canonical(value)
    if isinstance(value, tuple):
        return [_canonical_value(item) for item in cast("tuple[object, ...]", value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _first_problem(owner: type[Spec], error: ValidationError) -> SpecError:
    problem = error.errors()[0]
    field = ".".join([owner.__name__, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(owner.model_fields)
        return SpecError(field, problem["input"], f"one of the fields {known}", "mend the spelling")
    message = problem["msg"]
    return SpecError(field, problem["input"], message[:1].lower() + message[1:], "mend this field")
