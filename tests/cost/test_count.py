import json
import pickle
import re
import subprocess
import sys

import pytest
import torch
import torchvision  # noqa: F401 - it registers operators, as counting does
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from closed_forms import attention_multiply_adds, layer_multiply_adds, network_multiply_adds
from quatrain.cost import (
    MultiplyAdds,
    count_multiply_adds,
    count_parameters,
    model_cost,
    training_hours,
)
from quatrain.cost.convention import count_mixer
from quatrain.cost.count import _may_multiply, build_on_meta, meta_image, on_meta
from quatrain.cost.formulas import formulas
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.transformer import DecoderLayer, EncoderLayer
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import ALL_TERM_SETS, Term


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.output = nn.Linear(4, 11, bias=False)
        self.output.weight = self.embedding.weight


def test_linear_layer_counts_rows_times_both_widths():
    linear = nn.Linear(5, 7)
    assert count_multiply_adds(linear, torch.zeros(2, 3, 5)) == 2 * 3 * 5 * 7


def test_convolution_counts_positions_times_its_kernel():
    convolution = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    assert count_multiply_adds(convolution, torch.zeros(2, 3, 5, 6)) == 2 * 5 * 6 * 3 * 4 * 9


def test_fused_path_of_torchs_attention_is_counted():
    length, width = 6, 8
    module = nn.MultiheadAttention(width, 2, batch_first=True)
    x = torch.zeros(1, length, width)
    expected = 4 * length * width**2 + 2 * length**2 * width
    assert count_multiply_adds(module, x, x, x, need_weights=False) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_modes_are_restored_and_no_hook_is_left_also_after_an_error():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    module[0].eval()
    count_multiply_adds(module, torch.zeros(1, 3))
    with pytest.raises(RuntimeError, match="shapes"):
        count_multiply_adds(module, torch.zeros(1, 4))
    assert [part.training for part in module.modules()] == [True, False, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_module_runs_in_evaluation_mode_without_gradients():
    modes = []

    class Probe(nn.Module):
        def forward(self):
            modes.append((self.training, torch.is_grad_enabled()))

    count_multiply_adds(Probe())
    assert modes == [(False, False)]


def test_shared_parameter_counts_once():
    assert count_parameters(Tied()) == 11 * 4
    assert count_parameters(nn.Linear(3, 5)) == 3 * 5 + 5


def test_cost_of_a_model_keeps_its_uncounted_operators():
    cost = model_cost(nn.Linear(3, 5), MultiplyAdds(7, {"aten::det": 1}))
    assert cost == {"parameters": 20.0, "multiply_adds": 7, "multiply_adds_closed_form": 7.0}
    assert cost["multiply_adds"].uncounted == {"aten::det": 1}


def test_cost_of_a_model_has_the_count_by_the_papers_convention():
    mixer = parse_mixer("deformable").build(8)
    counted = count_multiply_adds(mixer, torch.zeros(2, 8, 3, 4))
    assert counted.by_convention == 2 * count_mixer(mixer, (3, 4))
    cost = model_cost(mixer, counted)
    assert cost["paper_multiply_adds"] == counted.by_convention != counted


@pytest.mark.parametrize(
    ("function", "shape", "names"),
    [
        (torch.linalg.inv, (3, 3), {"aten::linalg_inv_ex": 1}),
        (torch.linalg.pinv, (3, 4), {"aten::linalg_pinv": 1}),
        (torch.linalg.det, (3, 3), {"aten::_linalg_det": 1}),
        (torch.linalg.matrix_exp, (3, 3), {"aten::linalg_matrix_exp": 1}),
        (torch.linalg.svdvals, (3, 3), {"aten::_linalg_svd": 1}),
        (lambda x: torch.fft.rfft(torch.fft.rfft(x).real), (8,), {"aten::_fft_r2c": 2}),
        (lambda x: torch.sparse.mm(x.to_sparse(), x), (3, 3), {"aten::_sparse_addmm": 1}),
    ],
)
def test_matrix_operator_without_a_formula_is_named(function, shape, names):
    with pytest.warns(UserWarning, match=next(iter(names))):
        counted = count_multiply_adds(
            Call(function), torch.eye(*shape) if len(shape) > 1 else torch.ones(shape)
        )
    assert counted == 0
    assert dict(counted.uncounted) == names


def test_other_operators_are_not_named():
    def everything(x):
        y = x.softmax(-1).cumsum(0).sort().values
        y = nn.functional.layer_norm(x, (4,)) + x.max(-1, keepdim=True).values
        y = nn.functional.interpolate(y[None, None], scale_factor=2, mode="bilinear")
        y = nn.functional.grid_sample(y, torch.zeros(1, 3, 3, 2), align_corners=False)
        cell = nn.LSTMCell(3, 3)
        return cell(y[0, 0]), nn.functional.embedding_bag(torch.ones(2, 3, dtype=int), x), x.T

    counted = count_multiply_adds(Call(everything), torch.ones(4, 4))
    assert (counted, dict(counted.uncounted)) == (3 * 12 * 6, {})


def test_operator_of_another_library_is_named_until_it_has_a_formula():
    @torch.library.custom_op("quatrain_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    with pytest.warns(UserWarning, match=r"quatrain_tests::twice \(1x\)"):
        counted = count_multiply_adds(Call(twice), torch.ones(3, 3))
    assert dict(counted.uncounted) == {"quatrain_tests::twice": 1}

    @register_flop_formula(torch.ops.quatrain_tests.twice)
    def twice_flops(shape, out_shape=None, **_):
        return 2 * shape[0] ** 3

    counted = count_multiply_adds(Call(twice), torch.ones(3, 3))
    assert (counted, dict(counted.uncounted)) == (27, {})


def test_count_is_formatted_pickled_and_converted():
    counted = count_multiply_adds(nn.Linear(2, 3), torch.zeros(5, 2))
    assert isinstance(counted, MultiplyAdds)
    assert json.dumps([counted]) == "[30]"
    assert f"{counted:,} {counted}" == "30 30"
    named = MultiplyAdds(3, {"aten::det": 1})
    copied = pickle.loads(pickle.dumps(named))
    assert (copied, copied.uncounted) == (named, named.uncounted)
    assert pickle.loads(pickle.dumps(counted)).by_convention == counted.by_convention == 30
    assert yaml.safe_load(yaml.safe_dump(int(counted))) == 30
    assert type(int(counted)) is int


PRODUCTS = re.compile(
    r"mm(?:_|$)|matmul|linear|conv|cdist|linalg_|fft|lstm|gru|rnn|attention|einsum|dot(?:_|$)|mv(?:_|$)"
    r"|(?<!f)inv|(?:^|_)det(?!ach)|svd|(?<!s)qr|eig(?!ht)|chol|solve|lstsq|pca"
)
"""Parts of the names of matrix operators."""
NO_PRODUCTS = """
_convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _convert_weight_to_int4pack
_convert_weight_to_int4pack_for_cpu _cudnn_rnn_flatten_weight _dyn_quant_pack_4bit_weight
_embedding_bag_per_sample_weights_backward _foreach_lgamma _foreach_lgamma_ _linalg_check_errors
_thnn_fused_gru_cell _thnn_fused_gru_cell_backward _thnn_fused_lstm_cell
_thnn_fused_lstm_cell_backward_impl _upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward
_weight_norm_interface _weight_norm_interface_backward erfinv erfinv_ linalg__powsum linalg_cross
linalg_vector_norm mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight slice_inverse
upsample_bilinear2d upsample_bilinear2d_backward upsample_linear1d upsample_linear1d_backward
upsample_trilinear3d upsample_trilinear3d_backward
"""
"""Element-wise operators, interpolation, cross products, and conversions of weights."""


def test_every_matrix_operator_of_torch_is_counted_decomposed_or_named():
    registry = FlopCounterMode(display=False, custom_mapping=formulas()).flop_registry
    overloads = {}
    for full in torch._C._dispatch_get_all_op_names():
        library, _, name = full.partition("::")
        if library == "aten" and PRODUCTS.search(name.partition(".")[0]):
            overloads.setdefault(name.partition(".")[0], []).append(full)
    assert len(overloads) > 200
    missed = set()
    for name, every in overloads.items():
        packet = getattr(torch.ops.aten, name, None)
        composite = all(
            torch._C._dispatch_has_kernel_for_dispatch_key(each, "CompositeImplicitAutograd")
            for each in every
        )
        if not (packet is None or packet in registry or composite or _may_multiply("aten", name)):
            missed.add(name)
    assert missed <= set(NO_PRODUCTS.split())


class Flex(nn.Module):
    def forward(self, x):
        return flex_attention(x, x, x)


class Loop(nn.Module):
    def forward(self, x):
        first = torch.zeros((), dtype=torch.long)
        return while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x @ x), (first, x))[1]


class Branch(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() < 0, lambda x: x @ x, lambda x: x @ x @ x, (x,))


@pytest.mark.skipif(
    torch.ops.higher_order.flex_attention not in flop_registry,
    reason="this version of torch has no formula for flex_attention",
)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_counted_as_one_operator():
    assert count_multiply_adds(Flex(), torch.ones(2, 3, 5, 4)) == 2 * 3 * 5 * 5 * 8


def test_higher_order_operators_are_counted_or_named():
    assert count_multiply_adds(Branch(), torch.ones(4, 4)) == 2 * 4**3
    with pytest.warns(UserWarning, match=r"while_loop \(1x\)"):
        counted = count_multiply_adds(nn.Sequential(Loop(), nn.Linear(4, 4)), torch.ones(4, 4))
    assert counted == 4 * 16


def test_compiled_functions_are_counted():
    function = torch.compile(torch.matmul, fullgraph=True, backend="eager")
    assert count_multiply_adds(Call(function), torch.ones(3, 4), torch.ones(4, 5)) == 60


def test_counting_works_in_inference_mode():
    x = torch.zeros(2, 3, 4)
    with torch.inference_mode():
        assert count_multiply_adds(nn.Linear(4, 5), x) == 6 * 20
        assert count_multiply_adds(Call(torch.matmul), x, x[0].T) == 6 * 12


lengths = st.integers(1, 9)
every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


@every_term_set
@settings(max_examples=3)
@given(
    batch=st.integers(1, 3),
    queries=lengths,
    keys=lengths,
    heads=st.sampled_from([1, 2, 4]),
    window=st.sampled_from([None, 3]),
    causal=st.booleans(),
    key_channels=st.sampled_from([None, 6]),
)
def test_attention_on_sequences_counts_its_closed_form(
    terms, batch, queries, keys, heads, window, causal, key_channels
):
    module = AttentionSpec(terms=terms, heads=heads, window=window).build(8, 1, key_channels)
    query, key = torch.zeros(batch, queries, 8), torch.zeros(batch, keys, key_channels or 8)
    grid = Grid((queries,), (keys,))
    closed = attention_multiply_adds(module, batch, grid, Structure(causal))
    assert closed == count_multiply_adds(module, query, key, causal=causal)


@every_term_set
@settings(max_examples=3)
@given(
    batch=st.integers(1, 3),
    height=lengths,
    width=lengths,
    stride=st.integers(1, 3),
    padded=st.booleans(),
)
def test_attention_on_maps_counts_its_closed_form(terms, batch, height, width, stride, padded):
    module = AttentionSpec(terms=terms, heads=2, key_stride=stride).build(8)
    keys = (-(-height // stride), -(-width // stride))
    padding = torch.zeros(batch, height * width, dtype=torch.bool) if padded else None
    x = torch.zeros(batch, 8, height, width)
    closed = attention_multiply_adds(module, batch, Grid((height, width), keys, stride))
    assert closed == count_multiply_adds(module, x, key_padding_mask=padding)


@pytest.mark.parametrize(
    ("terms", "method", "window"),
    [
        ("0010", "pooled", None),
        ("0011", "separable", None),
        ("0001", "separable", 3),
        ("0100", "factored", None),
        ("0111", "factored", 3),
        ("1111", "fused", None),
        ("0010", "fused", 3),
        ("0011", "reference", None),
        ("1111", "reference", 3),
    ],
)
@pytest.mark.parametrize("null_key", [False, True])
def test_forced_method_counts_its_closed_form(terms, method, window, null_key):
    fields = {"window": window, "null_key": null_key}
    module = AttentionSpec(terms=terms, heads=2, key_stride=2, **fields).build(8)
    closed = attention_multiply_adds(module, 2, Grid((3, 70), (2, 35), 2), method=method)
    assert closed == count_multiply_adds(module, torch.zeros(2, 8, 3, 70), method=method)


@pytest.mark.parametrize("terms", ["0010", "0011", "0110", "1000", "1111"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("null_key", [False, True])
def test_attention_on_long_sequences_counts_its_closed_form(terms, causal, null_key):
    module = AttentionSpec(terms=terms, heads=2, null_key=null_key).build(8, ndim=1).to("meta")
    closed = attention_multiply_adds(module, 2, Grid((1000,), (1000,)), Structure(causal))
    x = torch.empty(2, 1000, 8, device="meta")
    assert closed == count_multiply_adds(module, x, causal=causal)


@pytest.mark.parametrize("self_attention", [None, "0110", "1111"])
def test_translator_layer_counts_its_closed_form(self_attention):
    mixer = None if self_attention is None else AttentionSpec(terms=self_attention, heads=2)
    cross = AttentionSpec(terms=Term.KEY, heads=2)
    encoder = EncoderLayer(8, 12, 0.1, "pre", mixer)
    decoder = DecoderLayer(8, 12, 0.1, "pre", mixer, cross)
    source, target = torch.zeros(2, 5, 8), torch.zeros(2, 7, 8)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    sizes = {"batch": 2, "source": 5, "target": 7}
    assert layer_multiply_adds(encoder, **sizes) == count_multiply_adds(encoder, source, padding)
    counted = count_multiply_adds(decoder, target, source, padding)
    assert layer_multiply_adds(decoder, **sizes) == counted


@pytest.mark.parametrize(
    "mixer",
    [
        "0010+deformable",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("w/o", "0111", "dynamic@5", "regular")
        ),
    ],
)
def test_network_counts_the_closed_forms_of_its_mixers(mixer):
    images = torch.empty(2, 3, 65, 97, device="meta")
    with torch.device("meta"):
        network = ResNetSpec(depth=18, output_stride=16, mixer=parse_mixer(mixer)).build()
        plain = ResNetSpec(depth=18, output_stride=16).build()
    counted = count_multiply_adds(network, images)
    assert counted == network_multiply_adds(network, plain, images)
    assert (counted == count_multiply_adds(plain, images)) is (mixer in ("w/o", "regular"))


def test_hours_are_proportional_to_multiply_adds():
    assert training_hours(60e15) == 1.0
    assert training_hours(30e15) == 0.5


def test_modules_on_meta_have_no_initial_values():
    with on_meta():
        layers = [nn.Linear(3, 4), nn.Embedding(5, 6), nn.Conv2d(3, 4, 3), nn.LSTM(2, 3)]
        nn.init.normal_(tensor=layers[0].weight, std=2.0)
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    assert all(parameter.is_meta for parameter in parameters)
    assert count_parameters(nn.ModuleList(layers)) == sum(map(torch.Tensor.numel, parameters))
    assert nn.init.ones_(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_building_on_meta_does_not_import_the_compiler():
    build = "from quatrain.cost.count import on_meta\nwith on_meta(): torch.nn.Embedding(5, 6)"
    code = f"import sys, torch\n{build}\nsys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_network_on_meta_needs_no_weights():
    backbone = ResNetSpec(depth=18, weights="0" * 64, mixer=parse_mixer("0010"))
    network = build_on_meta(SegmenterSpec(backbone=backbone, channels=16), 5)
    assert network(meta_image((64, 96))).shape == (1, 5, 64, 96)
    assert all(each.is_meta for each in network.parameters())
