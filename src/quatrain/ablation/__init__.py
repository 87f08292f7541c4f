"""Ablation without retraining: switch terms, knock them out, train all term sets at once."""

from quatrain.ablation.draws import draw_terms, sampled_terms
from quatrain.ablation.knockout import TermResult, knockout
from quatrain.ablation.one_shot import one_shot
from quatrain.ablation.shares import TermShares, term_shares
from quatrain.ablation.switch import TermSwitch, switch

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
