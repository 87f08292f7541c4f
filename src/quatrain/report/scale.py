"""The scale of a training, read from its spec: network, inputs, steps and initialization.

scale_of(record.spec).network    # "ResNet-18 of width 32"
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Scale:
    """Sizes of a training in words."""

    network: str
    inputs: str
    training: str
    initialization: str


def scale_of(spec: Json) -> Scale | None:
    """The scale of a run by its resolved spec.

    None for other specs than those of the tasks, and for stored ones that lack a field.
    """
    scales = {"translation": _translation, "detection": _detection, "segmentation": _segmentation}
    kind = spec.get("kind")
    with suppress(KeyError):
        return scales[kind](spec) if isinstance(kind, str) else None
    return None


def _translation(spec: Json) -> Scale:
    model, data = spec["model"], spec["data"]
    pairs = f"{data['train']:,} generated pairs" if data["kind"] == "numerals" else "sentence pairs"
    if data.get("limit") is not None:
        pairs = f"{data['limit']:,} sentence pairs"
    return Scale(
        network=f"Transformer of {model['layers']} + {model['layers']} layers, "
        f"width {model['width']}",
        inputs=f"{pairs}, vocabulary of at most {spec['vocabulary']['size']:,}",
        training=_steps(spec, spec["batch_tokens"], "tokens a side"),
        initialization="random",
    )


def _detection(spec: Json) -> Scale:
    sides = spec["augmentation"]["shorter"], spec["augmentation"]["longer"]
    return _vision(spec, f"images of at most {_pixels(sides)}")


def _segmentation(spec: Json) -> Scale:
    crop = spec["augmentation"]["crop"]
    sides = (crop, crop) if isinstance(crop, int) else crop
    scaled = "" if spec.get("scale", 1) == 1 else f" of images scaled by {spec['scale']:g}"
    return _vision(spec, f"crops of at most {_pixels(sides)}{scaled}")


def _vision(spec: Json, inputs: str) -> Scale:
    model, backbone = spec["model"], spec["model"]["backbone"]
    training = _steps(spec, spec["batch"], "images")
    if backbone.get("kind") == "frozen":
        part = "pyramid" if spec["kind"] == "detection" else "head"
        network = f"{part} of width {model['channels']} on {backbone['name']}"
        return Scale(network, inputs, training, "ImageNet, frozen backbone")
    network = f"ResNet-{backbone['depth']} of width {backbone['width']}"
    return Scale(network, inputs, training, _initialization(backbone))


def _initialization(backbone: Json) -> str:
    weights = backbone.get("weights")
    if weights is None:
        return "random"
    return "ImageNet" if str(weights).startswith("IMAGENET") else "a file of weights"


def _steps(spec: Json, batch: int, unit: str) -> str:
    recipe = spec["recipe"]
    return f"{recipe['steps']:,} steps of at most {batch * recipe['accumulate']:,} {unit}"


def _pixels(sides: tuple[int, int]) -> str:
    return f"{sides[0]:,} x {sides[1]:,} pixels"
