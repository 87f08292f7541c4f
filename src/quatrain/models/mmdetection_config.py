"""Settings of an mmdetection network that its tensors do not tell, from its configuration.

    settings = read_settings(meta)      # meta of a checkpoint, with the text of the configuration
    settings.heads, settings.key_stride, settings.terms

The text of the configuration is a Python file. It is searched for settings and never executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quatrain.specs import DataError, Term

Value = str | tuple[float, ...]
"""A text, or the numbers of a sequence; a single number is a sequence of one."""

_PATTERN = r"(\[[^\[\]]*\]|\([^()]*\)|'[^']*'|\"[^\"]*\"|[\w.+-]+)"
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_NEEDED: dict[str, tuple[Value, ...]] = {
    "style": ("pytorch",),
    "spatial_range": ((-1.0,),),
    "q_stride": ((1.0,),),
    "position_magnitude": ((1.0,),),
    "position": ("after_conv2",),
    "dilations": ((1.0, 1.0, 1.0, 1.0),),
    "target_means": ((0.0, 0.0, 0.0, 0.0),),
    "target_stds": ((1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)),
    "mean": (_MEAN,),
    "std": (_DEVIATION,),
    "ratios": ((0.5, 1.0, 2.0),),
    "anchor_ratios": ((0.5, 1.0, 2.0),),
}
"""Settings for which the network is that of `Detector`, and their values."""

_TEXTS = {"pytorch", "caffe", "after_conv1", "after_conv2", "after_conv3"}
"""Values of `style` and `position` in the configuration of a backbone."""


@dataclass(frozen=True)
class Settings:
    """Settings of attention and anchors; None where the configuration is missing or ambiguous."""

    terms: Term | None = None
    heads: int | None = None
    key_stride: int | None = None
    modulated: bool | None = None
    anchor_scale: float | None = None


def config_text(meta: Mapping[str, Any]) -> str:
    """The text of the configuration in a checkpoint; empty if there is none."""
    texts = (meta.get(name) for name in ("cfg", "config"))
    return next((text for text in texts if isinstance(text, str)), "")


def class_names(meta: Mapping[str, Any]) -> list[str]:
    """The names of the classes in a checkpoint, in the order of their labels; may be empty."""
    dataset = meta.get("dataset_meta")
    named = dataset if isinstance(dataset, Mapping) else {}
    for names in (meta.get("CLASSES"), named.get("classes"), named.get("CLASSES")):
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return [str(name) for name in names]
    return []


def read_settings(text: str, file: str) -> Settings:
    """The settings in the text of a configuration.

    Raises:
        DataError: if a setting makes the network another one than `Detector`.
    """
    for name, supported in _NEEDED.items():
        for value in _values(text, name):
            if _concerns(value, supported) and value not in supported:
                message = f"{file} was trained with {name}={_show(value)}, which is not supported"
                needed = " or ".join(map(_show, supported))
                raise DataError(f"{message}; load a network with {name}={needed}", name)
    attention = "GeneralizedAttention" in text or "gen_attention" in text
    defaults = {"num_heads": 9, "kv_stride": 2} if attention else {}
    terms = {str(value) for value in _values(text, "attention_type")}
    terms = terms or ({"1111"} if attention else set())
    return Settings(
        terms=Term.parse(next(iter(terms))) if len(terms) == 1 else None,
        heads=_integer(text, "num_heads", defaults),
        key_stride=_integer(text, "kv_stride", defaults),
        modulated=_is_modulated(text),
        anchor_scale=_anchor_scale(text),
    )


def _concerns(value: Value, supported: tuple[Value, ...]) -> bool:
    """Whether a value is of the setting that is meant, and not of another of the same name."""
    if isinstance(value, str):
        return value in _TEXTS
    return len(value) == len(supported[0]) and not isinstance(supported[0], str)


def _show(value: Value) -> str:
    return value if isinstance(value, str) else ", ".join(f"{number:g}" for number in value)


def _values(text: str, name: str) -> list[Value]:
    """The values of a setting: texts, and numbers or sequences of numbers as tuples."""
    found = re.findall(rf"\b{name}['\"]?\s*[=:]\s*{_PATTERN}", text)
    values: list[Value] = []
    for value in found:
        if value[0] in "'\"":
            values.append(value[1:-1])
            continue
        numbers = value.strip("[]()").split(",")
        try:
            values.append(tuple(float(number) for number in numbers if number.strip()))
        except ValueError:  # a name, or a sequence of others
            continue
    return values


def _integer(text: str, name: str, defaults: Mapping[str, int]) -> int | None:
    numbers = {value[0] for value in _values(text, name) if isinstance(value, tuple) and value}
    if not numbers:
        return defaults.get(name)
    return int(numbers.pop()) if len(numbers) == 1 else None


def _is_modulated(text: str) -> bool | None:
    version = {str(value) for value in _values(text, "type")} & {"DCN", "DCNv2"}
    if len(version) == 1:
        return version == {"DCNv2"}
    flags = set(re.findall(r"\bmodulated['\"]?\s*[=:]\s*(True|False)", text))
    return flags == {"True"} if len(flags) == 1 else None


def _anchor_scale(text: str) -> float | None:
    """The scale of anchors, if there is one; "scales" of images are pairs."""
    values = [*_values(text, "scales"), *_values(text, "anchor_scales")]
    single = {value[0] for value in values if isinstance(value, tuple) and len(value) == 1}
    return single.pop() if len(single) == 1 else None
