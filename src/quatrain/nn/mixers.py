"""The union of everything that can mix information across positions, and its one parser.

A new mechanism joins the union here, and thereby every law in the tests, every model and study.
"""

import re

from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.specs import SpecError, Term

Mixer = AttentionSpec
"""A spec with `build(channels, ndim, key_channels)`."""


def parse_mixer(text: str, heads: int = 8) -> Mixer | None:
    """Read the paper's notation: "0110", "0100@31" (range-limited), or "w/o" (None).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8 and section 4.

    Raises:
        SpecError: if the text is none of these.
    """
    if text == "w/o":
        return None
    found = re.fullmatch(r"(?P<terms>[^@]*)(@(?P<window>\d+))?", text)
    if found is None:
        raise SpecError(
            "mixer", text, 'terms, or terms@window, or "w/o"', 'write "0110" or "0100@31"'
        )
    terms = Term.parse(found["terms"])
    window = None if found["window"] is None else int(found["window"])
    return AttentionSpec(terms=terms, heads=heads, window=window)
