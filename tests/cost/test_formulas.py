import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from laws import convert_operands, operands
from quatrain.cost import count_multiply_adds
from quatrain.cost.formulas import formulas
from quatrain.ops import gpu_counts
from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.counts import AttentionSize
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs
from quatrain.specs import Term

widths = st.integers(1, 9)
aten = torch.ops.aten


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs, **named_inputs):
        return self.function(*inputs, **named_inputs)


def counted(function, *shapes, dtype=torch.float32):
    count = count_multiply_adds(Call(function), *(torch.zeros(s, dtype=dtype) for s in shapes))
    assert not count.uncounted
    return count


@pytest.mark.parametrize("device", ["cpu", "meta"])
@settings(max_examples=15)
@given(batch=widths, heads=widths, queries=widths, keys=widths, width=widths)
def test_sdpa_counts_two_products(device, batch, heads, queries, keys, width):
    query = torch.zeros(batch, heads, queries, width, device=device)
    key = torch.zeros(batch, heads, keys, width, device=device)
    counted = count_multiply_adds(
        Call(functional.scaled_dot_product_attention), query, key, value=key
    )
    assert counted == 2 * batch * heads * queries * keys * width


def test_mask_and_dtype_do_not_change_the_count_of_sdpa():
    query, mask = torch.zeros(2, 3, 5, 4), torch.ones(5, 5, dtype=torch.bool)
    attention = Call(functional.scaled_dot_product_attention)
    expected = 2 * 2 * 3 * 5 * 5 * 4
    assert count_multiply_adds(attention, query, query, query, attn_mask=mask) == expected
    assert count_multiply_adds(attention, *[query.double()] * 3) == expected


def test_matrix_vector_products_are_counted():
    matrix, vector = torch.zeros(6, 5), torch.zeros(5)
    assert count_multiply_adds(Call(torch.matmul), matrix, vector) == 6 * 5
    assert count_multiply_adds(Call(torch.matmul), vector, vector) == 5
    assert count_multiply_adds(Call(torch.addmv), torch.zeros(6), matrix, vector) == 6 * 5


@pytest.mark.parametrize("terms", ["1111", "1001", "0110", "0111", "0100", "0011", "0001"])
@pytest.mark.parametrize("window", [None, 3])
def test_triton_attention_counts_its_closed_form(terms, window):
    terms, grid = Term.parse(terms), Grid((5, 7), (3, 4), 2)
    axial = not terms.use_query
    x = convert_operands(operands(terms, grid, widths=(3, 3)), lambda x: x.to("meta"))
    support = Support(window=window)
    inputs = AttentionInputs(terms, x, grid, support)
    counted = count_multiply_adds(Call(triton_operator.triton_attention), inputs, axial=axial)
    size = AttentionSize(2, grid, 6, structure=support.structure)
    assert counted == gpu_counts.triton(terms, size, axial=axial)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", torch.float32), ("cpu", torch.float64), ("meta", torch.float32)]
)
def test_recurrent_layer_counts_each_matrix_for_each_token(kind, bidirectional, device, dtype):
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    layers, ways = 2, 1 + bidirectional
    module = kind(3, 5, layers, bidirectional=bidirectional, batch_first=True)
    module = module.to(device, dtype)
    each = [gates * 5 * (width + 5) * ways for width in (3, 5 * ways)]
    expected = 2 * 7 * sum(each)
    assert count_multiply_adds(module, torch.zeros(2, 7, 3, device=device, dtype=dtype)) == expected


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own
def test_projected_lstm_counts_its_projection():
    module = nn.LSTM(3, 5, proj_size=2)
    assert count_multiply_adds(module, torch.zeros(7, 2, 3)) == 14 * (4 * 5 * (3 + 2) + 5 * 2)


def test_recurrent_layers_on_gpus_count_the_same():
    weights = [(20, 3), (20, 5), (20,), (20,), (2, 5)]
    expected = 2 * 14 * (20 * 8 + 10)
    for operator in (aten._cudnn_rnn, aten.miopen_rnn):
        assert formulas()[operator]((7, 2, 3), weights, 4, None, out_shape=None) == expected


@given(widths, widths, widths, widths)
@settings(max_examples=15)
def test_bilinear_layer_counts_both_products(rows, first, second, out):
    module = nn.Bilinear(first, second, out)
    count = count_multiply_adds(module, torch.zeros(rows, first), torch.zeros(rows, second))
    assert count == rows * out * second * (first + 1)


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("keys", [6, 40])
def test_distances_count_each_pair_and_channel(p, keys):
    count = counted(lambda x, y: torch.cdist(x, y, p=p), (2, 30, 4), (2, keys, 4))
    assert count == 2 * 30 * keys * 4
    assert counted(torch.pdist, (5, 4)) == 10 * 4


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (lambda x, a, b: x.clone().addbmm_(a, b), [(3, 5), (2, 3, 4), (2, 4, 5)], 120),
        (lambda x, a, b: x.clone().addmv_(a, b), [(3,), (3, 5), (5,)], 15),
        (torch.addr, [(3, 5), (3,), (5,)], 3 * 5),
        (torch.vdot, [(6,), (6,)], 6),
        (torch.linalg.vecdot, [(6,), (6,)], 6),
        (torch.inner, [(3, 4), (5, 4)], 60),
        (torch.chain_matmul, [(3, 4), (4, 5)], 60),
        (lambda x, y: torch.einsum("bij,bjk->bik", x, y), [(2, 3, 4), (2, 4, 5)], 120),
        (lambda x, y: torch.tensordot(x, y, 1), [(3, 4), (4, 5)], 60),
        (torch.conv_tbc, [(7, 2, 3), (3, 3, 4), (4,)], 5 * 2 * 4 * 3 * 3),
        (functional.conv1d, [(2, 4, 9), (6, 2, 3)], 2 * 7 * 6 * 2 * 3),
        (functional.conv_transpose2d, [(2, 4, 5, 5), (4, 6, 3, 3)], 2 * 25 * 4 * 6 * 9),
    ],
)
@pytest.mark.filterwarnings("ignore:.*chain_matmul")
def test_other_matrix_operators_are_counted(function, shapes, expected):
    if function is functional.conv1d:
        function = lambda x, w: functional.conv1d(x, w, groups=2)  # noqa: E731
    assert counted(function, *shapes) == expected


def test_integer_and_grouped_products_are_counted():
    assert counted(torch._int_mm, (32, 16), (16, 24), dtype=torch.int8) == 32 * 16 * 24
    grouped = formulas()[aten._grouped_mm]
    assert grouped((32, 16), (2, 16, 24), out_shape=(32, 24)) == 2 * 32 * 16 * 24
    assert grouped((2, 32, 16), (2, 16, 24), out_shape=(2, 32, 24)) == 2 * 2 * 32 * 16 * 24
    assert grouped((2, 32, 16), (16, 24), out_shape=(32, 24)) == 2 * 32 * 16 * 24
    assert grouped((32, 16), (16, 24), out_shape=(2, 32, 24)) == 2 * 32 * 16 * 24


def test_grouped_query_attention_is_counted():
    count = counted(
        lambda q, k: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        (1, 4, 5, 8),
        (1, 2, 7, 8),
    )
    assert count == 2 * 4 * 5 * 7 * 8
    for operator in (
        aten._scaled_dot_product_flash_attention,
        aten._scaled_dot_product_efficient_attention,
        aten._scaled_dot_product_cudnn_attention,
    ):
        shapes = (1, 4, 5, 8), (1, 2, 7, 8), (1, 2, 7, 6)
        assert formulas()[operator](*shapes, out_shape=None) == 2 * 4 * 5 * 7 * (8 + 6)


@pytest.mark.parametrize("name", ["quantized::linear_dynamic", "mkldnn::_linear_pointwise"])
def test_linear_layers_of_other_libraries_are_counted(name):
    library, operator = name.split("::")
    packet = getattr(getattr(torch.ops, library), operator)
    assert formulas()[packet]((2, 3, 4), None, out_shape=(2, 3, 5)) == 2 * 6 * 4 * 5


def test_convolutions_of_other_libraries_are_counted():
    same, swapped = (2, 4, 6, 6), (2, 6, 4, 4)
    convolution, transposed = aten.mkldnn_convolution, aten.slow_conv_transpose2d
    flops = formulas()[convolution](same, (6, 4, 3, 3), None, out_shape=swapped)
    assert flops == 2 * 2 * 6 * 16 * 4 * 9
    flops = formulas()[transposed](swapped, (6, 4, 3, 3), None, out_shape=same)
    assert flops == 2 * 2 * 6 * 16 * 4 * 9
