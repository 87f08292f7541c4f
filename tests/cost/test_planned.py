import pytest
import torch
from torch import nn

from quatrain.cost import count_multiply_adds, planned_cost
from quatrain.nn import parse_mixer
from quatrain.ops import counts
from quatrain.ops.attention import attend
from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import QuatrainError, SpecError, Term


def test_cost_is_that_of_the_chosen_method():
    terms = Term.parse("0011")
    cost = planned_cost(terms, (50, 84), (25, 42))
    size = counts.AttentionSize(1, Grid((50, 84), (25, 42), 2), 256, heads=8)
    assert cost.method == "separable"
    assert cost.multiply_adds == counts.attend(terms, "separable", size)
    assert cost.bytes == 4 * counts.stored_weights(terms, "separable", size)


def test_training_adds_gradients():
    forward, both = (planned_cost(Term.KEY, (64, 64), training=each) for each in (False, True))
    assert both.multiply_adds == 3 * forward.multiply_adds


def test_triton_kernels_have_no_product_of_all_pairs_with_positions(monkeypatch):
    monkeypatch.setattr(triton_operator, "is_available", lambda: True)
    cost = planned_cost(Term.parse("1111"), (100, 168), device="cuda")
    pairs = (100 * 168) ** 2
    assert (cost.kernel, cost.bytes) == ("triton", 4 * 8 * 100 * 168 * (100 + 168))
    separable = planned_cost(Term.parse("0011"), (64, 64), device="cuda")
    assert (separable.method, separable.kernel) == ("separable", "triton")
    assert separable.bytes == 4 * 8 * 2 * 64**2
    assert 1 < cost.multiply_adds / (2 * pairs * 256) < 1.02
    both = planned_cost(Term.parse("1111"), (100, 168), device="cuda", training=True)
    assert 3.4 < both.multiply_adds / cost.multiply_adds < 3.5
    alone = planned_cost(Term.parse("0110"), (100, 168), device="cuda", training=True)
    assert 1 < alone.multiply_adds / (3 * pairs * 256) < 1.1


def test_heads_too_wide_for_triton_use_augmented_vectors():
    arguments = {"queries": (100, 168), "channels": 512, "heads": 2, "device": "cuda"}
    cost = planned_cost(Term.parse("1111"), **arguments)
    pairs = (100 * 168) ** 2
    assert (cost.kernel, cost.bytes) == ("augmented", 0)
    assert cost.multiply_adds > pairs * (2 * (256 + 100 + 168) + 512)
    both = planned_cost(Term.parse("1111"), **arguments, training=True)
    assert 3 < both.multiply_adds / cost.multiply_adds < 4


def test_sdpa_on_a_gpu_pads_heads():
    arguments = {"queries": (512,), "channels": 40, "heads": 8}
    on_cpu, on_gpu = (planned_cost(Term.QUERY_KEY, **arguments, device=d) for d in ("cpu", "cuda"))
    assert (on_cpu.kernel, on_gpu.kernel) == ("sdpa", "sdpa")
    assert on_gpu.multiply_adds * 5 == on_cpu.multiply_adds * 8


@pytest.mark.parametrize("named", [{"training": True}, {"device": "cuda"}])
def test_separable_holds_all_heads_in_training_and_on_a_gpu(named, monkeypatch):
    monkeypatch.setattr(triton_operator, "is_available", lambda: False)
    alone, together = (planned_cost(Term.parse("0011"), (64, 64), **n) for n in ({}, named))
    assert together.bytes == 8 * alone.bytes


def test_keys_without_a_common_stride_are_dense():
    alone, stepwise = (planned_cost(Term.parse("1111"), (300,), keys) for keys in ((300,), (299,)))
    assert stepwise.multiply_adds < alone.multiply_adds


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"heads": 7}, "heads"),
        ({"heads": 0}, "heads"),
        ({"channels": -256}, "channels"),
        ({"channels": 6, "heads": 2}, "channels"),
        ({"batch": 0}, "batch"),
        ({"structure": Structure(window=4)}, "window"),
        ({"structure": Structure(causal=True)}, "causal"),
        ({"keys": (5,)}, "keys"),
        ({"method": "pooled"}, "method"),
    ],
)
def test_invalid_argument_raises_with_its_name(arguments, field):
    with pytest.raises(QuatrainError) as caught:
        planned_cost(Term.parse("1111"), (8, 9), **arguments)
    assert caught.value.field.endswith(field)


class Attend(nn.Module):
    """Attention without its projections."""

    def __init__(self, inputs):
        super().__init__()
        self.inputs = inputs

    def forward(self, _):
        return attend(self.inputs)


@pytest.mark.parametrize(
    "name",
    [
        *("1111 rope", "1010 qknorm gate", "0011 table", "0110@7", "1111 t5", "1111 swin"),
        *("1010 null", "0110 null"),
    ],
)
def test_an_extended_attention_executes_what_is_planned(name):
    spec = parse_mixer(name, heads=4)
    inputs = spec.build(32).attention_inputs(torch.zeros(2, 32, 24, 25))
    executed = count_multiply_adds(Attend(inputs), torch.zeros(1))
    planned = planned_cost(spec, (24, 25), channels=32, batch=2)
    assert planned.multiply_adds == executed


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"heads": 2}, "heads"), ({"structure": Structure(window=3)}, "window")],
)
def test_heads_and_window_are_those_of_the_spec(arguments, field):
    with pytest.raises(SpecError) as error:
        planned_cost(parse_mixer("1111@5"), (8, 9), **arguments)
    assert error.value.field == field
