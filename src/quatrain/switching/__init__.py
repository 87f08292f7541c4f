"""Ablation without retraining: switch terms, knock them out, train all term sets at once."""

from quatrain.switching.draws import draw_terms, sampled_terms
from quatrain.switching.knockout import TermResult, knockout
from quatrain.switching.one_shot import one_shot
from quatrain.switching.shares import TermShares, term_shares
from quatrain.switching.switch import TermSwitch, switch

__all__ = [
    "TermResult",
    "TermShares",
    "TermSwitch",
    "draw_terms",
    "knockout",
    "one_shot",
    "sampled_terms",
    "switch",
    "term_shares",
]
