"""The union of all mixer specs, and the parser of the paper's notation.

A mixer exchanges information between positions: attention, a convolution, or both. A new mechanism
is added to the union here, and is then available to every model, study and test of all mixers.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from quatrain.nn.attended import AttendedSpec, AttendedState
from quatrain.nn.attention_spec import AttentionSpec
from quatrain.nn.attention_state import KeyValueState, RunningState
from quatrain.nn.convolution import InputState, RegularConvSpec
from quatrain.nn.dcn import DCNv3Spec, DCNv4Spec
from quatrain.nn.deformable_attention import DeformableAttentionSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.dynamic_conv import DynamicConvSpec, LightweightConvSpec
from quatrain.nn.sampling_mixer import SamplingState
from quatrain.specs import SpecError, Term
from quatrain.specs.errors import shorten
from quatrain.specs.notation import EXTENSIONS

Mixer = Annotated[
    AttentionSpec
    | RegularConvSpec
    | DeformableConvSpec
    | DynamicConvSpec
    | LightweightConvSpec
    | DeformableAttentionSpec
    | DCNv3Spec
    | DCNv4Spec
    | AttendedSpec,
    Field(discriminator="kind"),
]
"""The spec of a mixer."""

MixerState = KeyValueState | RunningState | InputState | AttendedState | SamplingState
"""Decoding state of a mixer's `step`."""

_MAX_LENGTH = 100
"""Characters of a name; even "1111@1000001+deformable@101" has far fewer."""

_CONVOLUTIONS: dict[str, Callable[..., Mixer]] = {
    "regular": RegularConvSpec,
    "deformable": DeformableConvSpec,
    "modulated": functools.partial(DeformableConvSpec, modulated=True),
    "dynamic": DynamicConvSpec,
    "lightweight": LightweightConvSpec,
    "dcnv3": DCNv3Spec,
    "dcnv4": DCNv4Spec,
}
_DEFORMABLE_ATTENTION = "deformable-attention"


def parse_mixer(text: str, heads: int = 8) -> Mixer | None:
    """Parse the paper's notation; "@" and a number set the width of a window or kernel.

    "0110" and "0100@31" are attention; "dynamic@15", "deformable" and "dcnv3@5" are convolutions,
    of width 3 by default; "deformable-attention" has no width; "0010+deformable" is attention over
    a convolution; "w/o" is None and "w/o+deformable" the convolution alone. Words after the terms
    are extensions by later papers, in any order: "1011 rope", "1111@31 qknorm gate".
    `AttentionSpec.notation` is the text of a spec.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8 and tables 2 and 3; the
        words are our own.

    Raises:
        SpecError: if the text is not in this notation.
    """
    if text == "w/o":
        return None
    if len(text) > _MAX_LENGTH:
        raise _parse_error(text)
    first, plus, second = text.partition("+")
    if not plus:
        return _parse_part(first, heads, text)
    convolution = _parse_part(second, heads, text)
    if not isinstance(convolution, RegularConvSpec | DeformableConvSpec):
        raise _parse_error(text)
    if first == "w/o":
        return convolution
    attention = _parse_part(first, heads, text)
    if not isinstance(attention, AttentionSpec):
        raise _parse_error(text)
    return AttendedSpec(convolution=convolution, attention=attention)


def split_mixer(mixer: Mixer | None) -> tuple[Mixer | None, Mixer | None]:
    """The convolution that replaces one of a network, and the mixer that is inserted after it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).
    """
    if isinstance(mixer, AttendedSpec):
        return mixer.convolution, mixer.attention
    if isinstance(mixer, RegularConvSpec | DeformableConvSpec):
        return mixer, None
    return None, mixer


def _parse_part(part: str, heads: int, text: str) -> Mixer:
    match = re.fullmatch(r"(?P<name>[^@ ]*)(@(?P<width>[0-9]+))?(?P<words>( [a-z0-9-]+)*)", part)
    if match is None:
        raise _parse_error(text)
    width = None if match["width"] is None else int(match["width"])
    words = match["words"].split()
    convolution = _CONVOLUTIONS.get(match["name"])
    is_sampled = match["name"] == _DEFORMABLE_ATTENTION
    if words and (is_sampled or convolution is not None):
        message = f"{shorten(text)} extends a mixer without terms; write extensions after terms"
        raise SpecError(message, "mixer")
    if is_sampled and width is not None:
        message = f"{shorten(text)} has a width, and deformable attention has none; leave out @"
        raise SpecError(message, "mixer")
    if is_sampled:
        return DeformableAttentionSpec(heads=heads)
    if convolution is not None:
        return convolution() if width is None else convolution(kernel=width)
    fields = _parse_extensions(words, text)
    return AttentionSpec(terms=Term.parse(match["name"]), heads=heads, window=width, **fields)


def _parse_extensions(words: Sequence[str], text: str) -> dict[str, Any]:
    """The fields that the words of extensions set; each field once."""
    fields: dict[str, Any] = {}
    for word in words:
        if word not in EXTENSIONS:
            known = ", ".join(EXTENSIONS)
            message = f"{shorten(text)} has the unknown extension {shorten(word)}; use {known}"
            raise SpecError(message, "mixer")
        field, value = EXTENSIONS[word]
        if field in fields:
            message = f"{shorten(text)} sets {field} twice; leave out {shorten(word)}"
            raise SpecError(message, "mixer")
        fields[field] = value
    return fields


def _parse_error(text: str) -> SpecError:
    names = ", ".join(_CONVOLUTIONS)
    return SpecError(
        f"{shorten(text)} is no mixer; use terms, a convolution ({names}), terms+convolution, "
        f'"{_DEFORMABLE_ATTENTION}" or "w/o"; terms and convolutions may have @width, such as '
        '"0100@31"; extensions follow the terms after one space each, such as "1011@31 rope gate"',
        "mixer",
    )
