import itertools

import pytest
import torch
from torch import nn

from quatrain.nn import AttentionSpec
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError
from quatrain.switching.draws import draw_terms, sampled_terms


def attention():
    return AttentionSpec(terms="1111", heads=2).build(8, ndim=1)


@pytest.mark.parametrize("seed", [0, 1, 12345678901234567890])
@pytest.mark.parametrize("first", [1, 17, 161])
def test_each_set_occurs_once_in_sixteen_steps(seed, first):
    drawn = [draw_terms(seed, step) for step in range(first, first + 16)]
    assert sorted(map(str, itertools.chain(*drawn))) == sorted(map(str, ALL_TERM_SETS))


def test_the_sets_depend_on_seed_and_step_alone():
    backwards = [draw_terms(3, step) for step in range(100, 0, -1)]
    assert backwards[::-1] == [draw_terms(3, step) for step in range(1, 101)]
    assert backwards[::-1] != [draw_terms(4, step) for step in range(1, 101)]
    blocks = [tuple(draw_terms(3, 16 * block + n)[0] for n in range(1, 17)) for block in range(20)]
    assert len(set(blocks)) == 20


def test_the_draws_of_a_seed_are_those_of_published_runs():
    digits = " ".join(str(draw_terms(0, step)[0]) for step in range(1, 9))
    assert digits == "1111 0011 1011 0000 1110 0010 0110 0101"


def test_a_sandwich_is_the_empty_set_the_drawn_one_and_all_terms():
    for step in (1, 2, 40):
        empty, drawn, full = draw_terms(1, step, "sandwich")
        assert (str(empty), str(full)) == ("0000", "1111")
        assert (drawn,) == draw_terms(1, step)


def test_an_unknown_sampling_is_refused():
    with pytest.raises(SpecError, match='use "sampled" or "sandwich"') as raised:
        draw_terms(0, 1, "uniform")
    assert raised.value.field == "sampling"


class Recorded(nn.Module):
    """Attention that notes the terms of each call."""

    def __init__(self):
        super().__init__()
        self.attention, self.fixed = attention(), attention()
        self.calls = []

    def forward(self, x):
        self.calls.append((self.attention.terms, self.fixed.terms))
        return self.fixed(self.attention(x))


def test_each_training_pass_has_the_next_set_and_each_evaluation_all_terms():
    model, x = Recorded(), torch.randn(1, 3, 8)
    with sampled_terms(model, seed=5, first_step=30, at="attention"):
        for _ in range(3):
            model.train()(x).sum().backward()
            model.eval()(x)
    model.train()(x)
    full = ALL_TERM_SETS[-1]
    drawn = [draw_terms(5, step)[0] for step in (30, 31, 32)]
    expected = [pair for terms in drawn for pair in ((terms, full), (full, full))]
    assert model.calls == [*expected, (full, full)]


def test_the_terms_of_before_are_restored_after_an_error():
    model = Recorded()
    model.attention.terms = ALL_TERM_SETS[2]
    with pytest.raises(InputError), sampled_terms(model, seed=0):
        model(torch.randn(1, 3, 7))
    assert (model.attention.terms, model.fixed.terms) == (ALL_TERM_SETS[2], ALL_TERM_SETS[-1])
    assert not model._forward_pre_hooks


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="contains no"), sampled_terms(nn.Linear(2, 2), seed=0):
        pass
