"""The paper's notation of the mixers in a spec that is stored as JSON.

    mixer_text({"kind": "attention", "terms": "0110", "window": 7, ...})    "0110@7"

The inverse of `quatrain.nn.mixers.parse_mixer` for reports, which read JSON and never import torch.
"""

from collections.abc import Mapping
from typing import Any, cast

_MIXERS = {"attention", "attended", "regular", "deformable", "dynamic", "lightweight"}
_DEFAULT_KERNEL = 3

Json = Mapping[str, Any]


def mixer_text(mixer: Json | None) -> str:
    """The notation of a mixer; fields that have no notation, such as heads, are left out."""
    if mixer is None:
        return "w/o"
    if mixer["kind"] == "attended":
        return f"{mixer_text(mixer['attention'])}+{mixer_text(mixer['convolution'])}"
    if mixer["kind"] == "attention":
        window = mixer.get("window")
        return mixer["terms"] if window is None else f"{mixer['terms']}@{window}"
    name = "modulated" if mixer.get("modulated") else str(mixer["kind"])
    kernel = mixer.get("kernel", _DEFAULT_KERNEL)
    return name if kernel == _DEFAULT_KERNEL and name != "dynamic" else f"{name}@{kernel}"


def mixers_in(spec: object, path: str = "") -> dict[str, Json]:
    """The mixers of a spec by their path, such as "model.backbone.mixer"."""
    if not isinstance(spec, Mapping):
        return {}
    fields = cast("Json", spec)
    if fields.get("kind") in _MIXERS:
        return {path: fields}
    found: dict[str, Json] = {}
    for name, value in fields.items():
        found |= mixers_in(value, f"{path}.{name}" if path else name)
    return found
