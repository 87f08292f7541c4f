import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.cost import count_multiply_adds
from quatrain.cost.closed_form import attention_multiply_adds, layer_multiply_adds
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.transformer import DecoderLayer, EncoderLayer
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import ALL_TERM_SETS, Term

lengths = st.integers(1, 9)
every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


@every_term_set
@settings(max_examples=6)
@given(
    batch=st.integers(1, 3),
    queries=lengths,
    keys=lengths,
    heads=st.sampled_from([1, 2, 4]),
    window=st.sampled_from([None, 3]),
    causal=st.booleans(),
    key_channels=st.sampled_from([None, 6]),
)
def test_on_sequences_the_counter_agrees(
    terms, batch, queries, keys, heads, window, causal, key_channels
):
    module = AttentionSpec(terms=terms, heads=heads, window=window).build(8, 1, key_channels)
    query, key = torch.zeros(batch, queries, 8), torch.zeros(batch, keys, key_channels or 8)
    grid = Grid((queries,), (keys,))
    closed = attention_multiply_adds(module, batch, grid, Structure(causal))
    assert closed == count_multiply_adds(module, query, key, causal=causal)


@every_term_set
@settings(max_examples=6)
@given(
    batch=st.integers(1, 3),
    height=lengths,
    width=lengths,
    stride=st.integers(1, 3),
    padded=st.booleans(),
)
def test_on_maps_the_counter_agrees(terms, batch, height, width, stride, padded):
    module = AttentionSpec(terms=terms, heads=2, key_stride=stride).build(8)
    keys = (-(-height // stride), -(-width // stride))
    padding = torch.zeros(batch, height * width, dtype=torch.bool) if padded else None
    x = torch.zeros(batch, 8, height, width)
    closed = attention_multiply_adds(module, batch, Grid((height, width), keys, stride))
    assert closed == count_multiply_adds(module, x, key_padding_mask=padding)


FITTING = {
    "reference": ALL_TERM_SETS,
    "fused": ALL_TERM_SETS,
    "pooled": [Term.parse(digits) for digits in ("0000", "0010")],
    "separable": [Term.parse(digits) for digits in ("0000", "0010", "0001", "0011")],
    "factored": [Term.parse(digits) for digits in ("0100", "0101", "0110", "0111")],
}


@pytest.mark.parametrize(
    ("terms", "method"), [(terms, method) for method in FITTING for terms in FITTING[method]]
)
@pytest.mark.parametrize("window", [None, 3])
def test_a_forced_method_is_counted_as_that_method_on_maps(terms, method, window):
    if method == "pooled" and window is not None:
        pytest.skip("a window undoes what is pooled")
    module = AttentionSpec(terms=terms, heads=2, window=window, key_stride=2).build(8)
    grid = Grid((3, 70), (2, 35), 2)
    closed = attention_multiply_adds(module, 2, grid, method=method)
    assert closed == count_multiply_adds(module, torch.zeros(2, 8, 3, 70), method=method)


@every_term_set
@pytest.mark.parametrize("causal", [False, True])
def test_long_sequences_are_counted_by_the_method_that_is_chosen_for_them(terms, causal):
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=1).to("meta")
    length = 1000
    grid = Grid((length,), (length,))
    closed = attention_multiply_adds(module, 2, grid, Structure(causal))
    x = torch.empty(2, length, 8, device="meta")
    assert closed == count_multiply_adds(module, x, causal=causal)


@pytest.mark.parametrize("self_attention", [None, "0010", "0110", "1000", "1111"])
def test_a_layer_of_the_translator_agrees_with_the_counter(self_attention):
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
