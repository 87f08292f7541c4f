"""The notation, and the laws that everything in the union of mixers obeys."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.testing import assert_close

from laws import term_sets, unchecked
from quatrain.cost import count_multiply_adds
from quatrain.cost.closed_form import mixer_multiply_adds
from quatrain.nn import DeformableConvSpec, GeneralizedAttention, RegularConvSpec
from quatrain.nn.attention_state import RunningState
from quatrain.nn.mixers import Mixer, parse_mixer, split_mixer
from quatrain.specs import InputError, SpecError, identity

UNION = [
    "0000",
    "0010",
    "0001",
    "0011",
    "0100",
    "0110",
    "1000",
    "1111",
    "0010@3",
    "0011@3",
    "0100@3",
    "1111@5",
    "regular",
    "regular@1",
    "deformable",
    "deformable@5",
    "modulated",
    "dynamic",
    "dynamic@5",
    "lightweight@5",
    "0010+deformable",
    "1111+deformable",
    "0100@3+modulated",
    "1111+regular",
]
COMPILED = ["0110", "regular", "modulated", "dynamic", "lightweight", "0010+deformable"]
CHANNELS = 16
MAPS = [(3, 4), (1, 5), (7, 2)]

every_mixer = pytest.mark.parametrize("name", UNION)
both = pytest.mark.parametrize("ndim", [1, 2])


def built(name, ndim, dtype=torch.float64):
    """A module whose offsets and gates have left the zero at which they begin."""
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
def test_a_sequence_keeps_its_length_and_type(name):
    for length in (1, 2, 7):
        for causal in (False, True):
            x = content(1, (length,))
            assert built(name, 1)(x, causal=causal).shape == x.shape


@every_mixer
def test_a_map_keeps_its_sizes(name):
    for sizes in MAPS:
        x = content(2, sizes)
        assert built(name, 2)(x).shape == x.shape


@both
@pytest.mark.parametrize("kind", [RegularConvSpec, DeformableConvSpec])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (1, 3, 1), (3, 2, 2)])
def test_a_stride_keeps_the_first_of_every_few_positions(kind, kernel, stride, dilation, ndim):
    fields = {"kernel": kernel, "dilation": dilation}
    whole, strided = (built(kind(stride=s, **fields), ndim) for s in (1, stride))
    for sizes in [(7,), (1,)] if ndim == 1 else MAPS:
        x = content(ndim, sizes)
        expected = whole(x)
        kept = expected[:, ::stride] if ndim == 1 else expected[..., ::stride, ::stride]
        assert_close(strided(x), kept)


@every_mixer
@both
def test_what_is_in_the_batch_changes_nothing(name, ndim):
    module, x = built(name, ndim), content(ndim, batch=3)
    together = module(x)
    assert_close(together[1:2], module(x[1:2]))
    assert module(x[:0]).shape == x[:0].shape


@every_mixer
def test_a_causal_mixer_never_sees_the_future(name):
    module, x = built(name, 1), content(1)
    for cut in range(1, 6):
        other = x.clone()
        other[:, cut:] += 10.0
        assert_close(module(x, causal=True)[:, :cut], module(other, causal=True)[:, :cut])


@every_mixer
def test_padding_is_never_seen(name):
    module, x = built(name, 1), content(1)
    longer = torch.cat((x, 5 * content(1, (3,))), dim=1)
    padding = torch.tensor([[False] * 6 + [True] * 3] * 2)
    for causal in (False, True):
        found = module(longer, causal=causal, key_padding_mask=padding)[:, :6]
        assert_close(found, module(x, causal=causal))


@every_mixer
def test_padding_of_a_map_is_never_seen(name):
    module, x = built(name, 2), content(2)
    padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    padding[:, :, 3] = True
    other = x.clone()
    other[..., 3] += 10.0
    ours, theirs = (module(given, key_padding_mask=padding.flatten(1)) for given in (x, other))
    assert_close(ours[..., 0], theirs[..., 0])


@every_mixer
def test_decoding_step_by_step_equals_the_causal_pass(name):
    module, x = built(name, 1), content(1)
    state, outputs = None, []
    for t in range(6):
        y, state = module.step(x[:, t : t + 1], state)
        outputs.append(y)
    assert_close(torch.cat(outputs, dim=1), module(x, causal=True))


@every_mixer
def test_the_chosen_rows_of_a_state_go_on_as_they_would_have(name):
    module, x = built(name, 1), content(1)
    state = None
    for t in range(3):
        _, state = module.step(x[:, t : t + 1], state)
    expected, _ = module.step(x[:, 3:4], state)
    found, _ = module.step(x[1:, 3:4], state.select(torch.tensor([1])))
    assert_close(found, expected[1:])


@pytest.mark.parametrize(
    ("name", "remembered"),
    [("regular", 2), ("dynamic@5", 4), ("lightweight@5", 4), ("deformable", 9)],
)
def test_a_window_is_all_that_a_convolution_remembers_unless_it_may_look_anywhere(name, remembered):
    module, x, state = built(name, 1), content(1, (9,)), None
    for t in range(9):
        _, state = module.step(x[:, t : t + 1], state)
    assert state.inputs.shape == (2, remembered, CHANNELS)


@pytest.mark.parametrize("name", ["0000", "0010"])
def test_where_no_query_matters_sums_are_all_that_is_remembered(name):
    _, state = built(name, 1).step(content(1, (1,)), None)
    assert isinstance(state, RunningState)


@every_mixer
@both
def test_its_gradients_are_those_of_finite_differences(name, ndim):
    module, x = built(name, ndim), content(ndim, (3,) if ndim == 1 else (2, 3), batch=1)
    assert torch.autograd.gradcheck(module, x.requires_grad_(), fast_mode=True)


@every_mixer
@both
def test_its_second_derivatives_are_those_of_finite_differences(name, ndim):
    module, x = built(name, ndim), content(ndim, (3,) if ndim == 1 else (2, 3), batch=1)
    for part in module.modules():
        if isinstance(part, GeneralizedAttention):
            part.method = "reference"
    assert torch.autograd.gradgradcheck(module, x.requires_grad_(), fast_mode=True)


@every_mixer
@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_batch_of_none_gives_none_and_leaves_the_parameters_where_they_are(name, ndim, dtype):
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
@both
def test_every_parameter_learns_unless_nothing_can_depend_on_it(name, ndim):
    module = built(name, ndim)
    module(content(ndim)).square().sum().backward()
    still = [key for key, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@every_mixer
@both
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.04), (torch.float16, 0.006)])
def test_under_autocast_it_stays_close(name, ndim, dtype, error):
    module, x = built(name, ndim, torch.float32), content(ndim, dtype=torch.float32)
    exact = module(x)
    with torch.autocast("cpu", dtype):
        half = module(x)
    half.float().sum().backward()
    assert (half - exact).norm() < error * exact.norm()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@every_mixer
def test_the_counter_and_the_closed_form_agree(name):
    sequences, maps = built(name, 1), built(name, 2)
    for length in (1, 7, 40):
        for causal in (False, True):
            counted = count_multiply_adds(sequences, content(1, (length,)), causal=causal)
            closed = mixer_multiply_adds(sequences, batch=2, sizes=(length,), causal=causal)
            assert counted == closed, (length, causal)
    for sizes in MAPS:
        counted = count_multiply_adds(maps, content(2, sizes))
        assert counted == mixer_multiply_adds(maps, batch=2, sizes=sizes), sizes


def test_torchvisions_operator_is_counted_as_ours():
    module, x = built("modulated", 2), content(2)
    counted = []
    for module.method in ("gather", "torchvision"):
        counted.append(count_multiply_adds(module, x))
    assert counted[0] == counted[1]


@every_mixer
@both
def test_it_is_counted_without_memory_for_its_numbers(name, ndim):
    with torch.device("meta"):
        module = parse_mixer(name, heads=2).build(CHANNELS, ndim)
        x = torch.empty(2, 5, CHANNELS) if ndim == 1 else torch.empty(2, CHANNELS, 3, 4)
    sizes = (5,) if ndim == 1 else (3, 4)
    assert count_multiply_adds(module, x) == mixer_multiply_adds(module, batch=2, sizes=sizes)


def test_an_attended_convolution_on_a_sequence_adds_its_attention_from_the_start():
    module, x = built("1111+deformable", 1), content(1)
    convolved = module.convolution(x, causal=True)
    assert_close(module(x, causal=True), convolved + module.attention(convolved, causal=True))


@pytest.mark.compile
@pytest.mark.parametrize("name", COMPILED)
@both
def test_it_compiles_into_one_graph(name, ndim):
    torch.compiler.reset()
    module, x = built(name, ndim), content(ndim)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x, causal=ndim == 1), module(x, causal=ndim == 1))
    ours, theirs = (
        torch.autograd.grad(how(x).square().sum(), list(module.parameters()))
        for how in (compiled, module)
    )
    assert_close(ours, theirs)


@pytest.mark.compile
@pytest.mark.slow
def test_it_compiles_to_machine_code():
    torch.compiler.reset()
    module, x = built("0010+deformable", 2), content(2)
    assert_close(torch.compile(module, fullgraph=True)(x), module(x))


@pytest.mark.compile
@pytest.mark.parametrize("name", COMPILED)
@both
def test_it_is_exported(name, ndim):
    module, x = built(name, ndim), content(ndim)
    assert_close(torch.export.export(module, (x,)).module()(x), module(x))


@unchecked()
@pytest.mark.parametrize("name", ["regular", "deformable", "dynamic", "lightweight"])
@pytest.mark.parametrize(
    ("ndim", "shape", "asked"),
    [
        (1, (2, 5, 8), {}),
        (1, (2, 0, CHANNELS), {}),
        (1, (2, CHANNELS, 3, 4), {}),
        (2, (2, 5, CHANNELS), {}),
        (2, (2, CHANNELS, 3, 4), {"causal": True}),
        (1, (2, 5, CHANNELS), {"key_padding_mask": torch.zeros(2, 4, dtype=torch.bool)}),
        (1, (2, 5, CHANNELS), {"key_padding_mask": torch.zeros(2, 5)}),
    ],
)
def test_an_input_that_does_not_fit_is_refused_in_a_sentence(name, ndim, shape, asked):
    with pytest.raises(InputError, match=r"^(input|causal|key_padding_mask) is .*, expected .*: "):
        built(name, ndim, torch.float32)(torch.zeros(shape), **asked)


@pytest.mark.parametrize("name", ["regular", "dynamic", "lightweight", "0010+deformable"])
def test_what_reads_its_own_input_takes_no_other_keys_and_no_third_axis(name):
    with pytest.raises(SpecError, match=r"key_channels is 6, expected 16"):
        parse_mixer(name, heads=2).build(CHANNELS, 1, key_channels=6)
    with pytest.raises(SpecError, match=r"ndim is 3, expected 1 \(sequences\) or 2 \(maps\)"):
        parse_mixer(name, heads=2).build(CHANNELS, 3)
    with pytest.raises(SpecError, match="decode step by step on whole sequences only"):
        built(name, 2).step(content(1, (1,)), None)


@given(term_sets, st.none() | st.integers(0, 50).map(lambda n: 2 * n + 1))
def test_the_notation_of_the_paper_is_read(terms, window):
    text = str(terms) if window is None else f"{terms}@{window}"
    mixer = parse_mixer(text, heads=4)
    assert (mixer.terms, mixer.window, mixer.heads) == (terms, window, 4)
    combined = parse_mixer(f"{text}+deformable@5", heads=4)
    assert combined.attention == mixer
    assert combined.convolution == DeformableConvSpec(kernel=5)


def test_without_is_no_mixer_or_the_convolution_alone():
    assert parse_mixer("w/o") is None
    assert parse_mixer("w/o+deformable") == DeformableConvSpec()


@every_mixer
def test_it_is_read_back_from_its_json_with_the_same_identity(name):
    spec = parse_mixer(name)
    copy = TypeAdapter(Mixer).validate_json(spec.to_json())
    assert copy == spec
    assert identity(copy, 0) == identity(spec, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1201", 'terms is "1201", expected four digits'),
        ("111", 'terms is "111", expected four digits'),
        ("0110@３", 'mixer is "0110@３", expected terms'),
        ("0110@٣", 'mixer is "0110@٣", expected terms'),
        ("dynamic@1５", 'mixer is "dynamic@1５", expected terms'),
        ("１111", 'terms is "１111", expected four digits'),
        pytest.param("1111" * 1000, r'mixer is "(1111){25}\.\.\.", expected terms', id="long"),
        pytest.param("0100@" + "9" * 5000, r'mixer is "0100@9+\.\.\.", expected', id="many digits"),
        ("0100@", 'mixer is "0100@", expected terms'),
        ("0100@x", 'mixer is "0100@x", expected terms'),
        ("0100@30", "window is 30, expected an odd number: use 29 or 31"),
        ("0100@0", "AttentionSpec.window is 0, expected"),
        ("dynamic@4", "kernel is 4, expected an odd number: use 3 or 5"),
        ("regular@0", "RegularConvSpec.kernel is 0, expected"),
        ("0010+dynamic", r'mixer is "0010\+dynamic", expected terms'),
        ("deformable+0010", r'mixer is "deformable\+0010", expected terms'),
        ("regular+deformable", r'mixer is "regular\+deformable", expected terms'),
    ],
)
def test_anything_else_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(SpecError, match=sentence):
        parse_mixer(text)


@pytest.mark.parametrize("name", ["dynamic", "lightweight"])
def test_groups_that_do_not_divide_the_channels_are_refused_with_those_that_do(name):
    with pytest.raises(SpecError, match="groups is 16, expected a divisor of the 24 channels"):
        parse_mixer(name).build(24)


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
def test_a_mixer_is_what_replaces_a_convolution_and_what_is_added_to_it(name, replaces, added):
    expected = tuple(None if each is None else parse_mixer(each) for each in (replaces, added))
    assert split_mixer(parse_mixer(name)) == expected
