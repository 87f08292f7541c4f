import pytest
from torch.testing import assert_close

from laws import operands
from quatrain.ops.attend import attend, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, SpecError

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


def test_the_fused_method_is_chosen_for_query_key_without_position_and_for_nothing_else():
    chosen = [str(terms) for terms in ALL_TERM_SETS if plan(terms).method == "fused"]
    assert chosen == ["1000", "1010"]


@every_term_set
def test_the_reference_serves_every_term_set_when_it_is_asked_for(terms):
    assert plan(terms, "reference").method == "reference"


@every_term_set
def test_a_plan_says_why(terms):
    assert len(plan(terms).why.split()) > 3


@every_term_set
def test_a_forced_method_is_used_or_refused_in_a_sentence_but_never_replaced(terms):
    if str(terms) in ("1000", "1010"):
        assert plan(terms, "fused").method == "fused"
        return
    with pytest.raises(SpecError, match='method is "fused", expected a method that serves'):
        plan(terms, "fused")


@every_term_set
def test_attend_gives_what_the_reference_gives(terms):
    grid = Grid((3,), (4,))
    made = operands(terms, grid)
    automatic = attend(terms, made, grid, Support(causal=True))
    assert_close(automatic, attend(terms, made, grid, Support(causal=True), "reference"))
