"""Modules that own parameters, each beside the frozen spec that describes it."""

from quatrain.nn.attention_state import Explanation
from quatrain.nn.capture import capture
from quatrain.nn.generalized_attention import AttentionSpec, GeneralizedAttention
from quatrain.nn.mixers import Mixer, parse_mixer

__all__ = [
    "AttentionSpec",
    "Explanation",
    "GeneralizedAttention",
    "Mixer",
    "capture",
    "parse_mixer",
]
