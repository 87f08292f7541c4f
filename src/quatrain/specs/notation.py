"""The paper's notation of the mixers in a spec that is stored as JSON.

    mixer_text({"kind": "attention", "terms": "0110", "window": 7, ...})    "0110@7"

The inverse of `quatrain.nn.mixers.parse_mixer` for reports, which read JSON and never import torch.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

_MIXERS = {
    *("attention", "attended", "regular", "deformable", "dynamic", "lightweight"),
    *("deformable-attention", "dcnv3", "dcnv4"),
}
_DEFAULT_KERNEL = 3

EXTENSIONS: dict[str, tuple[str, object]] = {
    "rope": ("rotary", "axial"),
    "rope-mixed": ("rotary", "mixed"),
    "qknorm": ("qk_norm", True),
    "table": ("position", "table"),
    "t5": ("position", "t5"),
    "alibi": ("position", "alibi"),
    "swin": ("position", "swin"),
    "cpb": ("position", "cpb"),
    "gate": ("gate", True),
    "null": ("null_key", True),
}
"""Extensions of attention, by the words of the notation in the order of writing: a field of
`AttentionSpec`, and its value."""

ADDED_FIELDS: dict[str, object] = {
    "rotary": None,
    "rotary_wavelength": None,
    "qk_norm": False,
    "gate": False,
    "position": None,
    "max_distance": None,
    "null_key": False,
    "processes": 1,
    "terms": "fixed",
    "terms_at": None,
    "bias": False,
    "bleu_tokenizer": "auto",
    "geometry": "torchvision",
    "ignore": [],
    "pyramid_mixer": None,
}
"""Fields that specs got after records were published, and their defaults. Specs are compared
without them where they have these values, so that older records are equal to newer ones."""

Json = Mapping[str, Any]


def has_default_of_added_field(name: str, value: object) -> bool:
    """Whether an older spec, which lacks the field, means the same."""
    return name in ADDED_FIELDS and repr(value) == repr(ADDED_FIELDS[name])


def extensions_of(attention: Json) -> tuple[str, ...]:
    """The words of the extensions of an attention, such as ("rope", "gate")."""
    return tuple(
        word for word, (field, value) in EXTENSIONS.items() if attention.get(field) == value
    )


def mixer_text(mixer: Json | None) -> str:
    """The notation of a mixer; fields that have no notation, such as heads, are left out."""
    if mixer is None:
        return "w/o"
    if mixer["kind"] == "attended":
        return f"{mixer_text(mixer['attention'])}+{mixer_text(mixer['convolution'])}"
    if mixer["kind"] == "attention":
        window = mixer.get("window")
        first = mixer["terms"] if window is None else f"{mixer['terms']}@{window}"
        return " ".join((first, *extensions_of(mixer)))
    name = "modulated" if mixer.get("modulated") else str(mixer["kind"])
    kernel = mixer.get("kernel", _DEFAULT_KERNEL)
    return name if kernel == _DEFAULT_KERNEL and name != "dynamic" else f"{name}@{kernel}"


def mixers_in(spec: object, path: str = "") -> dict[str, Json]:
    """The mixers of a spec by their path, such as "model.backbone.mixer"."""
    if not isinstance(spec, Mapping):
        return {}
    fields = cast("Json", spec)
    kind = fields.get("kind")
    if isinstance(kind, str) and kind in _MIXERS:
        return {path: fields}
    found: dict[str, Json] = {}
    for name, value in fields.items():
        found |= mixers_in(value, f"{path}.{name}" if path else name)
    return found


def other_differences(left: Json, right: Json) -> tuple[str, ...]:
    """The fields in which two specs differ, beyond the one factor that a comparison is about.

    The factor is the mixer, wherever it is in the specs; in specs with equal mixers it is the one
    field that differs.

    Example:
        >>> mixer = {"kind": "attention", "terms": "0110"}
        >>> left = {"mixer": mixer, "recipe": {"steps": 100}}
        >>> other_differences(left, {"mixer": mixer | {"terms": "1111"}, "recipe": {"steps": 200}})
        ('recipe.steps',)
    """
    mixers, others = differences(left, right)
    return () if not mixers and len(others) <= 1 else others


def differences(left: Json, right: Json) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The mixers and the other fields in which two specs differ, by path.

    Example:
        >>> left = {"model": {"mixer": None, "width": 8}}
        >>> differences(left, {"model": {"mixer": {"kind": "dynamic"}, "width": 16}})
        (('model.mixer',), ('model.width',))
    """
    mixers = dict.fromkeys([*mixers_in(left), *mixers_in(right)])
    sides = [dict(_leaves(spec, "", mixers)) for spec in (left, right)]
    names = dict.fromkeys(name for side in sides for name in side)
    different = tuple(name for name in names if len({repr(side.get(name)) for side in sides}) > 1)
    changed = (path for path in mixers if _mixer_at(left, path) != _mixer_at(right, path))
    return tuple(changed), different


def _leaves(value: object, path: str, mixers: Collection[str]) -> Iterator[tuple[str, object]]:
    """The scalars of a spec outside of its mixers, by path."""
    if path in mixers:
        return
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, item in cast("Json", value).items():
        if not has_default_of_added_field(name, item):
            yield from _leaves(item, f"{path}.{name}" if path else name, mixers)


def _mixer_at(spec: Json, path: str) -> object:
    mixer = _at(spec, path)
    return dict(_leaves(cast("Json", mixer), "", ())) if isinstance(mixer, Mapping) else mixer


def _at(spec: object, path: str) -> object:
    for name in path.split("."):
        spec = cast("Json", spec).get(name) if isinstance(spec, Mapping) else None
    return spec
