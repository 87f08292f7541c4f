"""The union of everything that can mix information across positions, and its one parser.

A new mechanism joins the union here, and thereby every law in the tests, every model and study.
"""

import functools
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from quatrain.nn.attended import AttendedSpec, AttendedState
from quatrain.nn.attention_state import KeyValueState, RunningState
from quatrain.nn.convolution import InputState
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.dynamic_conv import DynamicConvSpec, LightweightConvSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.regular_conv import RegularConvSpec
from quatrain.specs import SpecError, Term

Mixer = Annotated[
    AttentionSpec
    | RegularConvSpec
    | DeformableConvSpec
    | DynamicConvSpec
    | LightweightConvSpec
    | AttendedSpec,
    Field(discriminator="kind"),
]
"""A spec with `build(channels, ndim, key_channels)`."""

MixerState = KeyValueState | RunningState | InputState | AttendedState
"""What a mixer's `step` remembers of the tokens before."""

_LONGEST = 100
"""Characters of a name, of which even "1111@1000001+deformable@101" has far fewer."""

_CONVOLUTIONS: dict[str, Callable[..., Mixer]] = {
    "regular": RegularConvSpec,
    "deformable": DeformableConvSpec,
    "modulated": functools.partial(DeformableConvSpec, modulated=True),
    "dynamic": DynamicConvSpec,
    "lightweight": LightweightConvSpec,
}


def parse_mixer(text: str, heads: int = 8) -> Mixer | None:
    """Read the paper's notation; each part may end in "@" and the width of its window.

    "0110" and "0100@31" are attention; "dynamic@15" and "deformable" are convolutions, of width 3
    unless they say; "0010+deformable" is attention over a convolution; "w/o" is None and
    "w/o+deformable" the convolution alone.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8 and tables 2 and 3.

    Raises:
        SpecError: if the text is none of these.
    """
    if text == "w/o":
        return None
    if len(text) > _LONGEST:
        raise _unreadable(f"{text[:_LONGEST]}...")
    first, plus, second = text.partition("+")
    if not plus:
        return _parse_part(first, heads, text)
    convolution = _parse_part(second, heads, text)
    if not isinstance(convolution, RegularConvSpec | DeformableConvSpec):
        raise _unreadable(text)
    if first == "w/o":
        return convolution
    attention = _parse_part(first, heads, text)
    if not isinstance(attention, AttentionSpec):
        raise _unreadable(text)
    return AttendedSpec(convolution=convolution, attention=attention)


def split_mixer(mixer: Mixer | None) -> tuple[Mixer | None, Mixer | None]:
    """What replaces a convolution of a network, and what is added after it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).
    """
    if isinstance(mixer, AttendedSpec):
        return mixer.convolution, mixer.attention
    if isinstance(mixer, RegularConvSpec | DeformableConvSpec):
        return mixer, None
    return None, mixer


def _parse_part(part: str, heads: int, text: str) -> Mixer:
    found = re.fullmatch(r"(?P<name>[^@]*)(@(?P<width>[0-9]+))?", part)
    if found is None:
        raise _unreadable(text)
    width = None if found["width"] is None else int(found["width"])
    convolution = _CONVOLUTIONS.get(found["name"])
    if convolution is not None:
        return convolution() if width is None else convolution(kernel=width)
    return AttentionSpec(terms=Term.parse(found["name"]), heads=heads, window=width)


def _unreadable(text: str) -> SpecError:
    names = ", ".join(_CONVOLUTIONS)
    return SpecError(
        "mixer",
        text,
        f'terms, one of {names}, terms+convolution or "w/o", each with its @window',
        'write "0110", "0100@31", "dynamic@15" or "0010+deformable"',
    )
