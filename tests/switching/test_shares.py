import pytest
import torch
from torch import nn
from torch.testing import assert_close

from quatrain.nn import AttentionSpec
from quatrain.specs import ALL_TERM_SETS, InputError, Term
from quatrain.switching import shares
from quatrain.switching.shares import term_shares
from quatrain.switching.switch import switch

PADDING = torch.tensor([[False] * 5, [False, False, True, False, True]])
NO_KEYS = torch.tensor([[False] * 5, [True] * 5])


def built(terms="1111", ndim=1, **fields):
    torch.manual_seed(0)
    spec = AttentionSpec(terms=terms, heads=2, **fields)
    module = spec.build(8, ndim, dtype=torch.float64)
    for weight in module.parameters():
        weight.data *= 3
    return module


def content(ndim, seed=1):
    shape = (2, 5, 8) if ndim == 1 else (2, 8, 3, 4)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def by_hand(module, x, key=None, rows=None, **arguments):
    """Both shares by loops over queries and the explained logits of the module."""
    explained = module.explain(x, key, **arguments)
    shape = explained.weights.shape
    support = torch.ones(shape, dtype=torch.bool)
    if explained.support is not None:
        support = explained.support.expand(shape)
    variance, mass = ({term: torch.zeros(2, dtype=torch.float64) for term in Term} for _ in "12")
    total, count = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for b, h, q in torch.cartesian_prod(*map(torch.arange, shape[:3])).tolist():
        keys = support[b, h, q]
        if not keys.any() or (rows is not None and not rows[b, q]):
            continue
        logits = {term: each[b, h, q][keys] for term, each in explained.logits.items()}
        summed = sum(logits.values())
        count[h] += 1
        total[h] += summed.var(correction=0)
        for term, each in logits.items():
            variance[term][h] += ((each - each.mean()) * (summed - summed.mean())).mean()
            scores = summed, summed - each
            if module.spec.null_key:
                scores = (torch.cat((row, row.new_zeros(1))) for row in scores)
            first, second = (row.softmax(-1) for row in scores)
            moved = (first - second).abs().sum() / 2
            mass[term][h] += moved
    terms = list(explained.logits)
    return (
        {term: variance[term] / total for term in terms},
        {term: mass[term] / count for term in terms},
        total / count,
    )


def check(result, expected):
    for found, value in zip((result.variance, result.mass), expected[:2], strict=True):
        assert found.keys() == value.keys()
        for term in value:
            assert_close(found[term], value[term])
    assert_close(result.logit_variance, expected[2])


CALLS = {
    "plain": (1, {}, {}, None),
    "causal window": (1, {"window": 3}, {"causal": True}, None),
    "padding": (1, {}, {"key_padding_mask": PADDING}, ~PADDING),
    "no keys": (1, {}, {"key_padding_mask": NO_KEYS}, ~NO_KEYS),
    "stride": (1, {"key_stride": 2}, {"key_padding_mask": PADDING}, None),
    "pairs by head": (1, {}, {"attend_mask": torch.rand(2, 2, 5, 5) > 0.5}, None),
    "map": (2, {}, {}, None),
    "null key": (1, {"null_key": True}, {"key_padding_mask": NO_KEYS}, ~NO_KEYS),
    "map window": (2, {"window": 3, "key_stride": 2}, {}, None),
}


@pytest.mark.parametrize("largest", [1, 60, 100_000])
@pytest.mark.parametrize("name", CALLS)
def test_shares_are_those_of_the_formulas_for_any_block(name, largest, monkeypatch):
    monkeypatch.setattr(shares, "LARGEST_BLOCK", largest)
    ndim, fields, arguments, rows = CALLS[name]
    module, x = built(ndim=ndim, **fields), content(ndim)
    result = term_shares(module, x, **arguments)[""]
    check(result, by_hand(module, x, rows=rows, **arguments))
    total = sum(result.variance.values())
    assert_close(total, torch.ones_like(total))
    assert all(each.min() >= 0 and each.max() <= 1 for each in result.mass.values())


def test_all_queries_of_encoder_decoder_attention_are_counted():
    module, x, memory = built(), content(1), content(1, seed=2)
    result = term_shares(module, x, memory, key_padding_mask=PADDING)[""]
    check(result, by_hand(module, x, memory, key_padding_mask=PADDING))
    assert result.queries == 10


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
def test_terms_that_are_off_have_no_share(terms):
    module, x = built(), content(1)
    with switch(module, terms):
        result = term_shares(module, x)[""]
    assert list(result.variance) == list(result.mass) == list(terms)
    if len(terms) == 1:
        assert_close(*result.variance.values(), torch.ones(2, dtype=torch.float64))


def test_a_query_independent_term_moves_the_mass_of_its_removal():
    """With one term, its removal leaves uniform weights."""
    module, x = built("0010"), content(1)
    weights = module.explain(x).weights
    expected = (weights - 1 / 5).abs().sum(-1).mean((0, 2)) / 2
    assert_close(term_shares(module, x)[""].mass[Term.KEY], expected)


def test_calls_are_summed_and_the_model_is_left_as_it_was():
    module = built().train()
    model = nn.Sequential(module, module)
    x = content(1)
    twice = term_shares(model, x)["0"]
    assert twice.queries == 20
    assert module.training
    assert not module._forward_hooks
    first = by_hand(module, x)[2]
    second = by_hand(module, module(x).detach())[2]
    assert_close(twice.logit_variance, (first + second) / 2)


def test_logits_of_one_key_have_no_share_of_variance():
    result = term_shares(built("0010"), content(1)[:, :1])[""]
    assert result.variance[Term.KEY].isnan().all()
    assert result.mass[Term.KEY].max() == 0


def test_an_example_that_reaches_no_attention_is_refused():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = built()

        def forward(self, x):
            return x

    with pytest.raises(InputError, match="called none of attention") as raised:
        term_shares(Skipping(), content(1))
    assert raised.value.field == "inputs"
