from hypothesis import given
from hypothesis import strategies as st

from quatrain.ops import counts
from quatrain.specs import ALL_TERM_SETS, Term

sizes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 5),
        "queries": st.integers(1, 50),
        "keys": st.integers(1, 50),
        "channels": st.integers(1, 16).map(lambda n: 4 * n),
        "offsets": st.lists(st.integers(1, 99), min_size=1, max_size=2).map(tuple),
        "masked_by_query": st.booleans(),
    }
)
term_sets = st.sampled_from(ALL_TERM_SETS)


def test_a_linear_layer_is_rows_times_inputs_times_outputs():
    assert counts.linear(50, 512, 2048) == 50 * 512 * 2048


def test_all_terms_on_a_sequence_by_hand():
    size = counts.AttentionSize(batch=2, queries=3, keys=5, channels=4, offsets=(7,))
    by_hand = {
        "query and output": 2 * 2 * 3 * 16,
        "key and value": 2 * 2 * 5 * 16,
        "offsets": 7 * 16,
        "content logits": 2 * 3 * 5 * 4,
        "position logits": 2 * 3 * 7 * 4,
        "weighted sum": 2 * 3 * 5 * 4,
    }
    counted = counts.attention(Term.parse("1111"), "reference", size)
    assert counted == sum(by_hand.values())


def test_key_alone_weights_the_values_once_for_all_queries():
    size = counts.AttentionSize(batch=1, queries=10, keys=10, channels=8, offsets=())
    assert counts.attend(Term.KEY, "reference", size) == 10 * 8 + 10 * 8


def test_a_mask_that_differs_from_query_to_query_makes_key_alone_weight_for_each_query():
    size = counts.AttentionSize(1, 10, 10, 8, offsets=(), masked_by_query=True)
    assert counts.attend(Term.KEY, "reference", size) == 10 * 8 + 10 * 10 * 8


@given(term_sets, sizes)
def test_the_cost_is_proportional_to_the_batch_but_for_the_offsets(terms, size):
    def cost(batch):
        larger = counts.AttentionSize(**{**size, "batch": batch})
        return counts.attention(terms, "reference", larger)

    assert cost(3) - cost(2) == cost(2) - cost(1) > 0


@given(term_sets, term_sets, sizes)
def test_switching_a_term_on_never_costs_less(terms, more, size):
    size = counts.AttentionSize(**size)
    alone = counts.attention(terms, "reference", size)
    assert counts.attention(terms | more, "reference", size) >= alone


@given(st.sampled_from(["1000", "1010"]), sizes)
def test_the_fused_method_executes_as_much_as_the_reference(digits, size):
    terms, size = Term.parse(digits), counts.AttentionSize(**size)
    assert counts.attend(terms, "fused", size) == counts.attend(terms, "reference", size)
