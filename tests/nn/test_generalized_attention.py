import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import term_sets, unchecked
from quatrain.nn import AttentionSpec, GeneralizedAttention
from quatrain.nn.attention_state import KeyValueState, RunningState
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


def built(ndim=1, channels=8, key_channels=None, dtype=torch.float64, **fields):
    torch.manual_seed(0)
    spec = AttentionSpec(**{"heads": 2, **fields})
    return spec.build(channels, ndim, key_channels).to(dtype)


def content(ndim=1, batch=2, dtype=torch.float64, channels=8):
    shape = (batch, 5, channels) if ndim == 1 else (batch, channels, 3, 4)
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


@every_term_set
@pytest.mark.parametrize("shape", [(2, 8, 3, 4), (1, 8, 5, 1)])
def test_a_transposed_map_with_transposed_axes_gives_the_transposed_output(terms, shape):
    """A released implementation confuses the axes if E2 is on and E4 is off."""
    module = built(ndim=2, terms=terms)
    x = torch.randn(shape, dtype=torch.float64)
    straight = module(x)
    if module.position is not None:
        module.position[0], module.position[1] = module.position[1], module.position[0]
    assert_close(module(x.transpose(2, 3)).transpose(2, 3), straight)


@every_term_set
@pytest.mark.parametrize("ndim", [1, 2])
def test_explained_terms_add_up_to_the_weights_and_the_weights_to_the_output(terms, ndim):
    module, x = built(ndim=ndim, terms=terms), content(ndim)
    explained = module.explain(x)
    total = sum(explained.logits.values()) + torch.zeros_like(explained.weights)
    assert list(explained.logits) == list(terms)
    assert_close(explained.weights, total.softmax(-1))
    flat = x if ndim == 1 else x.flatten(2).transpose(1, 2)
    value = module.value(flat).unflatten(-1, (2, 4)).transpose(1, 2)
    mixed = (explained.weights @ value).transpose(1, 2).flatten(2)
    output = module(x) if ndim == 1 else module(x).flatten(2).transpose(1, 2)
    assert_close(output, module.output(mixed))


@every_term_set
@pytest.mark.parametrize("ndim", [1, 2])
def test_the_explanation_of_one_query_is_that_of_all(terms, ndim):
    module, x = built(ndim=ndim, terms=terms, window=3, key_stride=2), content(ndim)
    whole = module.explain(x)
    at, number = ((3,), 3) if ndim == 1 else ((2, 1), 9)
    one = module.explain(x, at=at)
    assert_close(one.weights, whole.weights[:, :, number : number + 1])
    for term in terms:
        assert_close(one.logits[term], whole.logits[term][:, :, number : number + 1])
        assert_close(one.term_weights(term), whole.term_weights(term)[:, :, number : number + 1])


@pytest.mark.parametrize("terms", ["0100", "1111"])
def test_the_weights_of_a_term_are_the_softmax_of_its_logits_over_the_same_keys(terms):
    module, x = built(terms=terms), content()
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    explained = module.explain(x, key_padding_mask=padding)
    alone = explained.term_weights(Term.QUERY_POSITION)
    assert alone[1, :, :, 3:].abs().max() == 0
    logits = explained.logits[Term.QUERY_POSITION]
    assert_close(alone[0], logits[0].softmax(-1))
    assert_close(alone[1, :, :, :3], logits[1, :, :, :3].softmax(-1))
    if terms == "0100":
        assert_close(alone, explained.weights)


@settings(max_examples=25)
@given(term_sets, st.none() | st.sampled_from([1, 3, 9]), st.integers(1, 7))
def test_decoding_step_by_step_equals_the_causal_pass(terms, window, length):
    module = built(terms=terms, window=window)
    x = torch.randn(2, length, 8, dtype=torch.float64)
    state, outputs = None, []
    for position in range(length):
        output, state = module.step(x[:, position : position + 1], state)
        outputs.append(output)
    assert_close(torch.cat(outputs, dim=1), module(x, causal=True))
    if not isinstance(state, RunningState):
        assert state.value.shape[2] == min(length, window or length)


@settings(max_examples=25)
@given(term_sets, st.none() | st.sampled_from([1, 3, 9]), st.booleans())
def test_attending_to_cached_keys_query_by_query_equals_the_full_pass(terms, window, padded):
    module = built(terms=terms, window=window)
    query, key = content(), content(batch=2)[:, :4]
    padding = torch.tensor([[False] * 4, [False, False, True, True]]) if padded else None
    state = module.cache_keys(key)
    outputs = [module.attend_cached(query[:, t : t + 1], state, t, padding) for t in range(5)]
    assert_close(torch.cat(outputs, dim=1), module(query, key, key_padding_mask=padding))


@settings(max_examples=25)
@given(
    term_sets,
    st.none() | st.sampled_from([1, 3, 9]),
    st.booleans(),
    st.sampled_from(["auto", "reference"]),
)
def test_queries_that_share_cached_keys_attend_as_with_copies(terms, window, padded, method):
    module = built(terms=terms, window=window)
    module.method = method
    query, key = content(batch=6)[:, :1], content(batch=2)[:, :4]
    padding = torch.tensor([[False] * 4, [False, False, True, True]]) if padded else None
    each = torch.arange(2).repeat_interleave(3)
    copied = None if padding is None else padding[each]
    expected = module.attend_cached(query, module.cache_keys(key[each]), 2, copied)
    assert_close(module.attend_cached(query, module.cache_keys(key), 2, padding), expected)


@every_term_set
def test_forced_fused_attends_to_cached_keys_or_refuses_the_queries_of_a_beam(terms):
    module = built(terms=terms)
    query, key = content(batch=6)[:, :1], content(batch=2)[:, :4]
    state = module.cache_keys(key)
    expected = module.attend_cached(query, state, 2)
    module.method = "fused"
    one_each = module.attend_cached(query[::3], state, 2)
    assert_close(one_each, expected[::3])
    if terms.use_query and terms.use_position:
        with pytest.raises(SpecError, match="queries of a beam"):
            module.attend_cached(query, state, 2)
    else:
        assert_close(module.attend_cached(query, state, 2), expected)


@every_term_set
def test_a_key_stride_is_a_mask_of_all_other_keys(terms):
    module, x = built(ndim=2, terms=terms), content(ndim=2)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[::2, ::2] = True
    strided = built(ndim=2, terms=terms, key_stride=2)
    assert_close(strided(x), module(x, attend_mask=mask.flatten().expand(12, 12)))


@pytest.mark.parametrize("terms", ["0000", "0010", "0011", "0110", "1111"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_keeps_its_dtype(terms, dtype):
    module, x = built(terms=terms, dtype=dtype), content(dtype=dtype)
    exact = built(terms=terms, dtype=torch.float32)(x.float())
    assert module(x).dtype == dtype
    assert (module(x).float() - exact).norm() < 0.05 * exact.norm()


def test_an_empty_sequence_is_refused():
    with pytest.raises(InputError):
        built()(content(), content()[:, :0])


@pytest.mark.parametrize(
    ("fields", "channels", "ndim", "field"),
    [
        ({"heads": 3}, 8, 1, "heads"),
        ({"heads": 1}, 7, 1, "channels"),
        ({"heads": 2}, 6, 2, "channels"),
        ({"heads": 2}, 8, 3, "ndim"),
        ({"terms": "111"}, 8, 1, "terms"),
        ({"wavelength": 1.0}, 8, 1, "AttentionSpec.wavelength"),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_refused(fields, channels, ndim, field):
    with pytest.raises(SpecError) as caught:
        GeneralizedAttention(channels, ndim=ndim, **fields)
    assert caught.value.field == field


def test_odd_channels_are_allowed_without_position_terms():
    assert built(terms="1010", heads=1, channels=7)(content(channels=7)).shape == (2, 5, 7)


@unchecked()
@pytest.mark.parametrize(
    ("inputs", "masks", "field"),
    [
        (((2, 8, 3, 4),), {}, "query"),
        (((2, 5, 6),), {}, "query"),
        (((2, 5, 8), (2, 8)), {}, "key"),
        (((2, 5, 8), (3, 4, 8)), {}, "key"),
        (((2, 5, 8), (2, 4, 6)), {}, "key"),
        (
            ((2, 5, 8),),
            {"key_padding_mask": torch.zeros(2, 4, dtype=torch.bool)},
            "key_padding_mask",
        ),
        (((2, 5, 8),), {"key_padding_mask": torch.zeros(2, 5)}, "key_padding_mask"),
        (((2, 5, 8),), {"attend_mask": torch.zeros(5, 5)}, "attend_mask"),
        (((1, 5, 8),), {"attend_mask": torch.zeros(3, 5, 5, dtype=torch.bool)}, "attend_mask"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, masks, field):
    with pytest.raises(InputError) as caught:
        built(dtype=torch.float32)(*(torch.zeros(shape) for shape in inputs), **masks)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize(("ndim", "stride", "field"), [(2, 1, "ndim"), (1, 2, "key_stride")])
def test_step_by_step_decoding_is_for_sequences_with_all_keys(ndim, stride, field):
    module = built(ndim, key_stride=stride)
    token = torch.zeros(1, 1, 8, dtype=torch.float64)
    state = KeyValueState(torch.zeros(1, 2, 3, 4).double())
    for decode in (lambda: module.step(token, None), lambda: module.attend_cached(token, state, 0)):
        with pytest.raises(SpecError) as caught:
            decode()
        assert caught.value.field == field


compiled_cases = pytest.mark.parametrize(
    ("terms", "ndim"),
    [
        ("1000", 2),
        *(
            pytest.param(terms, ndim, marks=pytest.mark.slow)
            for terms, ndim in [("1000", 1), ("0010", 1), ("0010", 2), ("0110", 1), ("0110", 2)]
        ),
    ],
)


@pytest.mark.compile
@compiled_cases
def test_it_compiles_into_one_graph_for_all_sizes(terms, ndim):
    torch.compiler.reset()
    module = built(ndim, terms=terms)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (4, 6):
        x = torch.randn((2, size, 8) if ndim == 1 else (2, 8, 3, size), dtype=torch.float64)
        assert_close(compiled(x, causal=ndim == 1), module(x, causal=ndim == 1))
        gradients = [
            torch.autograd.grad(how(x).square().sum(), list(module.parameters()))
            for how in (compiled, module)
        ]
        assert_close(*gradients)


@pytest.mark.compile
@pytest.mark.slow
def test_it_compiles_to_machine_code():
    torch.compiler.reset()
    module, x = built(ndim=2, terms="0110"), content(ndim=2)
    assert_close(torch.compile(module, fullgraph=True)(x), module(x))


@pytest.mark.compile
@compiled_cases
def test_it_can_be_exported_for_all_sizes(terms, ndim):
    module, x = built(ndim, terms=terms), content(ndim)
    sizes = dict.fromkeys((1,) if ndim == 1 else (2, 3), torch.export.Dim.AUTO)
    exported = torch.export.export(module, (x,), dynamic_shapes=(sizes,)).module()
    for size in (3, 5, 9):
        other = torch.randn((2, size, 8) if ndim == 1 else (2, 8, size, 6), dtype=torch.float64)
        assert_close(exported(other), module(other))
