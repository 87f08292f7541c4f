import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from laws import operands
from quatrain.cost import count_multiply_adds, count_parameters
from quatrain.ops import gpu_counts
from quatrain.ops.attend import tiles
from quatrain.ops.counts import AttentionSize
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

widths = st.integers(1, 9)


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs, **named_inputs):
        return self.function(*inputs, **named_inputs)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.output = nn.Linear(4, 11, bias=False)
        self.output.weight = self.embedding.weight


def test_a_linear_layer_counts_rows_times_its_two_widths():
    linear = nn.Linear(5, 7)
    assert count_multiply_adds(linear, torch.zeros(2, 3, 5)) == 2 * 3 * 5 * 7


def test_a_convolution_counts_positions_times_its_kernel():
    convolution = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    assert count_multiply_adds(convolution, torch.zeros(2, 3, 5, 6)) == 2 * 5 * 6 * 3 * 4 * 9


@pytest.mark.parametrize("device", ["cpu", "meta"])
@settings(max_examples=15)
@given(batch=widths, heads=widths, queries=widths, keys=widths, width=widths)
def test_scaled_dot_product_attention_counts_two_products(
    device, batch, heads, queries, keys, width
):
    query = torch.zeros(batch, heads, queries, width, device=device)
    key = torch.zeros(batch, heads, keys, width, device=device)
    counted = count_multiply_adds(
        Call(functional.scaled_dot_product_attention), query, key, value=key
    )
    assert counted == 2 * batch * heads * queries * keys * width


def test_attention_with_a_mask_or_in_float64_counts_the_same():
    query, mask = torch.zeros(2, 3, 5, 4), torch.ones(5, 5, dtype=torch.bool)
    attention = Call(functional.scaled_dot_product_attention)
    expected = 2 * 2 * 3 * 5 * 5 * 4
    assert count_multiply_adds(attention, query, query, query, attn_mask=mask) == expected
    assert count_multiply_adds(attention, *[query.double()] * 3) == expected


def test_a_product_with_a_vector_counts_too():
    matrix, vector = torch.zeros(6, 5), torch.zeros(5)
    assert count_multiply_adds(Call(torch.matmul), matrix, vector) == 6 * 5
    assert count_multiply_adds(Call(torch.matmul), vector, vector) == 5
    assert count_multiply_adds(Call(torch.addmv), torch.zeros(6), matrix, vector) == 6 * 5


def test_the_fused_path_of_torchs_own_attention_does_not_hide_its_products():
    length, width = 6, 8
    module = nn.MultiheadAttention(width, 2, batch_first=True)
    x = torch.zeros(1, length, width)
    expected = 4 * length * width**2 + 2 * length**2 * width
    assert count_multiply_adds(module, x, x, x, need_weights=False) == expected
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("terms", ["1111", "1001", "0110", "0111", "0100", "0011", "0001"])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_by_tiles_counts_its_closed_form(terms, window):
    terms, grid = Term.parse(terms), Grid((5, 7), (3, 4), 2)
    lines = not terms.use_query
    made = operands(terms, grid, widths=(3, 3))
    bare = {n: x.to("meta") for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    made = type(made)(**bare, relative=tuple(axis.to("meta") for axis in made.relative))
    support = Support(window=window)
    counted = count_multiply_adds(Call(tiles.attend), terms, made, grid, support, by_lines=lines)
    size = AttentionSize(2, grid, 6, structure=support.structure)
    assert counted == gpu_counts.tiled(terms, size, lines=lines)


def test_counting_restores_each_training_mode_and_leaves_no_hook():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    module[0].eval()
    count_multiply_adds(module, torch.zeros(1, 3))
    assert [part.training for part in module.modules()] == [True, False, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_module_that_raises_gets_its_training_mode_back():
    module = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count_multiply_adds(module, torch.zeros(1, 4))
    assert module.training
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_module_runs_in_evaluation_mode_without_gradients():
    seen = []

    class Probe(nn.Module):
        def forward(self):
            seen.append((self.training, torch.is_grad_enabled()))

    count_multiply_adds(Probe())
    assert seen == [(False, False)]


def test_a_shared_parameter_counts_once():
    assert count_parameters(Tied()) == 11 * 4
    assert count_parameters(nn.Linear(3, 5)) == 3 * 5 + 5
