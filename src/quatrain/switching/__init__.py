"""Switch the terms of a model, knock them out, train one model for all term sets."""

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
