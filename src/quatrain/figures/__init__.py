"""Figures of attention, sampling offsets and term shares; each is a matplotlib figure."""

from quatrain.figures.attention import plot_alignment, plot_attention_map
from quatrain.figures.offsets import plot_offsets
from quatrain.figures.position_profile import (
    PositionProfile,
    plot_position_profile,
    position_profile,
)
from quatrain.figures.term_shares import plot_term_shares

__all__ = [
    "PositionProfile",
    "plot_alignment",
    "plot_attention_map",
    "plot_offsets",
    "plot_position_profile",
    "plot_term_shares",
    "position_profile",
]
