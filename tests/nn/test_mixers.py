"""The parser, and the laws of all mixers."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn
from torch.testing import assert_close

from closed_forms import mixer_multiply_adds
from laws import term_sets, unchecked
from quatrain.cost import count_multiply_adds
from quatrain.nn import DeformableConvSpec, GeneralizedAttention, RegularConvSpec
from quatrain.nn.attention_state import RunningState
from quatrain.nn.mixers import Mixer, parse_mixer, split_mixer
from quatrain.nn.sampling_mixer import SamplingMixer
from quatrain.specs import InputError, SpecError, identity

MIXERS = [
    *("0000", "0010", "0011", "0110", "1111", "0011@3", "1111@5"),
    *("regular", "deformable@5", "modulated", "dynamic", "lightweight@5"),
    *("0010+deformable", "1111+regular", "deformable-attention", "dcnv3", "dcnv4@5"),
    *("1011 rope", "1110 rope-mixed gate", "1111@5 qknorm", "1000 rope qknorm gate", "0010 gate"),
    *("0101 table", "1111@3 t5", "0011 alibi", "1011 rope swin", "0001 cpb"),
    *("0010 null", "1111@5 null", "1010 rope null", "0011 alibi null"),
]
"""A mixer of each kind, attention by each method, and each extension."""
CONVOLUTIONS = ["regular", "modulated", "dynamic", "lightweight", "dcnv3"]
COMPILED = [
    *("0110", *CONVOLUTIONS),
    pytest.param("deformable-attention", marks=pytest.mark.slow),
    pytest.param("0010+deformable", marks=pytest.mark.slow),
    pytest.param("1011 rope qknorm gate", marks=pytest.mark.slow),
    pytest.param("0111 t5", marks=pytest.mark.slow),
    pytest.param("1101 cpb", marks=pytest.mark.slow),
]
CHANNELS = 16
MAPS = [(3, 4), (1, 5)]

every_mixer = pytest.mark.parametrize("name", MIXERS)
every_ndim = pytest.mark.parametrize("ndim", [1, 2])


def built(name, ndim, dtype=torch.float64):
    """A module with offsets and gammas that are not zero."""
    torch.manual_seed(0)
    spec = parse_mixer(name, heads=2) if isinstance(name, str) else name
    module = spec.build(CHANNELS, ndim).to(dtype)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if "offset" in key or "gamma" in key:
                parameter.normal_(std=0.2)
    return module


def content(ndim, sizes=None, batch=2, dtype=torch.float64):
    sizes = sizes or ((6,) if ndim == 1 else (3, 4))
    shape = (batch, *sizes, CHANNELS) if ndim == 1 else (batch, CHANNELS, *sizes)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        dtype
    )


@every_mixer
@every_ndim
def test_a_mixer_is_copied_pickled_and_loaded(name, ndim):
    module, x = built(name, ndim), content(ndim)
    loaded = built(name, ndim)
    nn.init.ones_(next(loaded.parameters()))
    loaded.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert_close(other(x), module(x), rtol=0, atol=0)
        nn.init.ones_(next(other.parameters()))
        assert not torch.equal(next(module.parameters()), next(other.parameters()))


@every_mixer
@pytest.mark.parametrize(
    ("sizes", "causal"), [((1,), False), ((7,), False), ((7,), True), *((m, False) for m in MAPS)]
)
def test_the_output_has_the_shape_of_the_input(name, sizes, causal):
    x = content(len(sizes), sizes)
    assert built(name, len(sizes))(x, causal=causal).shape == x.shape


@every_ndim
@pytest.mark.parametrize("kind", [RegularConvSpec, DeformableConvSpec])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (1, 3, 1), (3, 2, 2)])
def test_a_stride_keeps_every_nth_position(kind, kernel, stride, dilation, ndim):
    fields = {"kernel": kernel, "dilation": dilation}
    whole, strided = (built(kind(stride=s, **fields), ndim) for s in (1, stride))
    for sizes in [(7,), (1,)] if ndim == 1 else [(7, 2), (1, 5)]:
        x = content(ndim, sizes)
        expected = whole(x)
        subsampled = expected[:, ::stride] if ndim == 1 else expected[..., ::stride, ::stride]
        assert_close(strided(x), subsampled)


@every_mixer
@every_ndim
def test_samples_of_a_batch_are_independent(name, ndim):
    module, x = built(name, ndim), content(ndim, batch=3)
    together = module(x)
    assert_close(together[1:2], module(x[1:2]))
    assert module(x[:0]).shape == x[:0].shape


@every_mixer
def test_a_causal_output_depends_on_no_later_input(name):
    module, x = built(name, 1), content(1)
    for cut in (1, 4):
        other = x.clone()
        other[:, cut:] += 10.0
        assert_close(module(x, causal=True)[:, :cut], module(other, causal=True)[:, :cut])


@every_mixer
def test_padding_of_a_sequence_is_ignored(name):
    module, x = built(name, 1), content(1)
    longer = torch.cat((x, 5 * content(1, (3,))), dim=1)
    padding = torch.tensor([[False] * 6 + [True] * 3] * 2)
    for causal in (False, True):
        padded = module(longer, causal=causal, key_padding_mask=padding)[:, :6]
        assert_close(padded, module(x, causal=causal))


@every_mixer
def test_padding_of_a_map_is_ignored(name):
    module, x = built(name, 2), content(2)
    padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    padding[:, :, 3] = True
    other = x.clone()
    other[..., 3] += 10.0
    first, second = (module(each, key_padding_mask=padding.flatten(1)) for each in (x, other))
    assert_close(first[..., 0], second[..., 0])


@every_mixer
def test_decoding_step_by_step_equals_the_causal_pass(name):
    module, x = built(name, 1), content(1)
    state, outputs = None, []
    for t in range(6):
        y, state = module.step(x[:, t : t + 1], state)
        outputs.append(y)
    assert_close(torch.cat(outputs, dim=1), module(x, causal=True))


@every_mixer
def test_selected_rows_of_a_state_continue_as_before(name):
    module, x = built(name, 1), content(1)
    state = None
    for t in range(3):
        _, state = module.step(x[:, t : t + 1], state)
    expected, _ = module.step(x[:, 3:4], state)
    selected, _ = module.step(x[1:, 3:4], state.select(torch.tensor([1])))
    assert_close(selected, expected[1:])


@pytest.mark.parametrize(
    ("name", "length"),
    [("regular", 2), ("dynamic@5", 4), ("lightweight@5", 4), ("deformable", 9)],
)
def test_the_state_of_a_convolution_holds_the_inputs_in_reach(name, length):
    module, x, state = built(name, 1), content(1, (9,)), None
    for t in range(9):
        _, state = module.step(x[:, t : t + 1], state)
    assert state.inputs.shape == (2, length, CHANNELS)


@pytest.mark.parametrize("name", ["0000", "0010", "0001 alibi", "0011 alibi"])
def test_the_state_of_weights_that_change_by_one_factor_is_a_running_sum(name):
    _, state = built(name, 1).step(content(1, (1,)), None)
    assert isinstance(state, RunningState)


@every_mixer
@every_ndim
def test_gradients_equal_finite_differences(name, ndim):
    module, x = built(name, ndim), content(ndim, (3,) if ndim == 1 else (2, 3), batch=1)
    assert torch.autograd.gradcheck(module, x.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("name", ["1111", *CONVOLUTIONS])
@every_ndim
def test_second_derivatives_equal_finite_differences(name, ndim):
    module, x = built(name, ndim), content(ndim, (3,) if ndim == 1 else (2, 3), batch=1)
    if isinstance(module, GeneralizedAttention | SamplingMixer):
        module.method = "reference"
    assert torch.autograd.gradgradcheck(module, x.requires_grad_(), fast_mode=True)


@every_mixer
@every_ndim
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(name, ndim, dtype):
    module = built(name, ndim, dtype)
    x = content(ndim, (300,) if ndim == 1 else (24, 25), batch=0, dtype=dtype).requires_grad_()
    y = module(x, causal=ndim == 1)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    with torch.no_grad():
        assert module(x).shape == x.shape
    if ndim == 1:
        assert module.step(x[:, :1], None)[0].shape == x[:, :1].shape


@every_mixer
@every_ndim
def test_every_parameter_gets_a_gradient(name, ndim):
    module = built(name, ndim)
    module(content(ndim)).square().sum().backward()
    assert [key for key, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_mixer
@every_ndim
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.04), (torch.float16, 0.006)])
def test_autocast_stays_close_to_float32(name, ndim, dtype, error):
    module, x = built(name, ndim, torch.float32), content(ndim, dtype=torch.float32)
    exact = module(x)
    with torch.autocast("cpu", dtype):
        half = module(x)
    half.float().sum().backward()
    if isinstance(module, GeneralizedAttention):
        assert half.dtype == dtype
    assert (half - exact).norm() < error * exact.norm()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@every_mixer
@pytest.mark.parametrize(("sizes", "causal"), [((7,), False), ((40,), True), ((3, 4), False)])
def test_counted_multiply_adds_equal_the_closed_form_also_on_the_meta_device(name, sizes, causal):
    module, x = built(name, len(sizes)), content(len(sizes), sizes)
    expected = mixer_multiply_adds(module, batch=2, sizes=sizes, causal=causal)
    assert count_multiply_adds(module, x, causal=causal) == expected
    assert count_multiply_adds(module.to("meta"), x.to("meta"), causal=causal) == expected


def test_the_operator_of_torchvision_counts_the_same():
    module, x = built("modulated", 2), content(2)
    counts = []
    for module.method in ("gather", "torchvision"):
        counts.append(count_multiply_adds(module, x))
    assert counts[0] == counts[1]


@pytest.mark.compile
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("ndim", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_compiles_into_one_graph(name, ndim):
    torch.compiler.reset()
    module, x = built(name, ndim), content(ndim)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    outputs = [how(x, causal=ndim == 1) for how in (compiled, module)]
    gradients = [
        torch.autograd.grad(output.square().sum(), list(module.parameters())) for output in outputs
    ]
    assert_close(*outputs)
    assert_close(*gradients)


@pytest.mark.compile
@pytest.mark.slow
def test_it_compiles_to_machine_code():
    torch.compiler.reset()
    module, x = built("0010+deformable", 2), content(2)
    assert_close(torch.compile(module, fullgraph=True)(x), module(x))


@pytest.mark.compile
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("ndim", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_it_can_be_exported(name, ndim):
    module, x = built(name, ndim), content(ndim)
    assert_close(torch.export.export(module, (x,)).module()(x), module(x))


@unchecked()
@pytest.mark.parametrize("name", ["regular", "deformable", "dynamic", "lightweight", "dcnv3"])
def test_convolutions_check_their_input(name):
    with pytest.raises(InputError) as caught:
        built(name, 1, torch.float32)(torch.zeros(2, 5, 8))
    assert caught.value.field == "input"
    with pytest.raises(InputError) as caught:
        built(name, 1, torch.float32)(
            torch.zeros(2, 5, CHANNELS), key_padding_mask=torch.zeros(2, 5)
        )
    assert caught.value.field == "key_padding_mask"


@pytest.mark.parametrize(
    "name", ["regular", "deformable", "dynamic", "lightweight", "0010+deformable", "dcnv4"]
)
def test_mixers_that_read_one_input_refuse_other_keys_maps_in_steps_and_a_third_axis(name):
    mixer = parse_mixer(name, heads=2)
    for build, field in (
        (lambda: mixer.build(CHANNELS, 1, key_channels=6), "key_channels"),
        (lambda: mixer.build(CHANNELS, 3), "ndim"),
        (lambda: built(name, 2).step(content(1, (1,)), None), "ndim"),
    ):
        with pytest.raises(SpecError) as caught:
            build()
        assert caught.value.field == field


@given(term_sets, st.none() | st.integers(0, 50).map(lambda n: 2 * n + 1))
def test_the_notation_of_the_paper_is_parsed(terms, window):
    text = str(terms) if window is None else f"{terms}@{window}"
    mixer = parse_mixer(text, heads=4)
    assert (mixer.terms, mixer.window, mixer.heads) == (terms, window, 4)
    combined = parse_mixer(f"{text}+deformable@5", heads=4)
    assert combined.attention == mixer
    assert combined.convolution == DeformableConvSpec(kernel=5)


def test_w_o_is_no_mixer_or_the_convolution_alone():
    assert parse_mixer("w/o") is None
    assert parse_mixer("w/o+deformable") == DeformableConvSpec()


@every_mixer
def test_the_json_of_a_spec_keeps_its_identity(name):
    spec = parse_mixer(name)
    copy = TypeAdapter(Mixer).validate_json(spec.to_json())
    assert copy == spec
    assert identity(copy, 0) == identity(spec, 0)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("1201", "terms"),
        ("111", "terms"),
        ("0110@３", "mixer"),
        ("0110@٣", "mixer"),
        ("dynamic@1５", "mixer"),
        ("１111", "terms"),
        pytest.param("1111" * 1000, "mixer", id="long"),
        pytest.param("0100@" + "9" * 5000, "mixer", id="many digits"),
        ("0100@", "mixer"),
        ("0100@x", "mixer"),
        ("0100@30", "window"),
        ("dynamic@4", "kernel"),
        ("0010+dynamic", "mixer"),
        ("0010+dcnv3", "mixer"),
        ("dcnv3 rope", "mixer"),
        ("deformable-attention gate", "mixer"),
        ("deformable-attention@5", "mixer"),
        ("0010+deformable-attention", "mixer"),
        ("deformable+0010", "mixer"),
        ("regular+deformable", "mixer"),
    ],
)
def test_other_texts_are_refused(text, field):
    with pytest.raises(SpecError) as caught:
        parse_mixer(text)
    assert caught.value.field == field
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["dynamic", "lightweight", "dcnv3", "dcnv4"])
def test_groups_must_divide_the_channels(name):
    with pytest.raises(SpecError) as caught:
        parse_mixer(name).build(24)
    assert caught.value.field == "groups"


@pytest.mark.parametrize(
    ("name", "replaces", "added"),
    [
        ("w/o", None, None),
        ("0110", None, "0110"),
        ("dynamic@5", None, "dynamic@5"),
        ("w/o+deformable", "deformable", None),
        ("0010+modulated", "modulated", "0010"),
    ],
)
def test_a_mixer_is_split_into_a_replacing_convolution_and_an_inserted_mixer(name, replaces, added):
    expected = tuple(None if each is None else parse_mixer(each) for each in (replaces, added))
    assert split_mixer(parse_mixer(name)) == expected
