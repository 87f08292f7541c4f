import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.nn import AttentionSpec, GeneralizedAttention
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import ALL_TERM_SETS, SpecError, Term
from quatrain.specs.notation import EXTENSIONS

words = st.permutations(["rope", "qknorm", "gate", "t5", "null"]).flatmap(
    lambda order: st.integers(0, 4).map(lambda count: order[:count])
)


@given(st.sampled_from(ALL_TERM_SETS), st.none() | st.just(31), words)
def test_the_notation_of_a_spec_is_parsed_to_the_same_spec(terms, window, words):
    if not terms.has(Term.QUERY_KEY):
        words = [word for word in words if word not in ("rope", "qknorm")]
    if not terms.has(Term.POSITION):
        words = [word for word in words if word != "t5"]
    text = " ".join((f"{terms}" if window is None else f"{terms}@{window}", *words))
    spec = parse_mixer(text)
    assert set(spec.extensions) == set(words)
    assert parse_mixer(spec.notation) == spec


@pytest.mark.parametrize("word", EXTENSIONS)
def test_each_word_sets_one_field(word):
    field, value = EXTENSIONS[word]
    spec = parse_mixer(f"1111 {word}")
    assert spec == AttentionSpec(terms="1111", **{field: value})
    assert spec.notation == f"1111 {word}"


def test_words_follow_the_terms_of_attention_over_a_convolution():
    spec = parse_mixer("1010 rope gate+deformable@5")
    assert spec.attention.extensions == ("rope", "gate")
    assert spec.convolution.kernel == 5


@pytest.mark.parametrize(
    "text",
    [
        *("1111 what", "dynamic gate", "1111 rope rope", "1111 rope rope-mixed", "1111  gate"),
        *("1111 t5 table", "1010 alibi"),
        *("1111 gate ", "gate", "1111+deformable gate"),
    ],
)
def test_other_words_are_refused(text):
    with pytest.raises(SpecError):
        parse_mixer(text)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"terms": "0111", "rotary": "axial"}, "rotary"),
        ({"terms": "0111", "qk_norm": True}, "qk_norm"),
        ({"rotary_wavelength": 10.0}, "rotary_wavelength"),
        ({"rotary": "other"}, "AttentionSpec.rotary"),
        ({"terms": "1110", "position": "table"}, "position"),
        ({"max_distance": 5}, "max_distance"),
        ({"position": "alibi", "max_distance": 5}, "max_distance"),
        ({"position": "t5", "max_distance": 8}, "max_distance"),
    ],
)
def test_contradictions_are_refused(fields, field):
    with pytest.raises(SpecError) as caught:
        AttentionSpec(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize(("channels", "ndim"), [(6, 1), (12, 2)])
def test_heads_that_cannot_be_rotated_are_refused(channels, ndim):
    spec = AttentionSpec(terms="1000", heads=2, rotary="axial")
    with pytest.raises(SpecError) as caught:
        spec.build(channels, ndim)
    assert caught.value.field == "channels"


def test_the_gate_multiplies_attended_values_by_the_content_of_the_query():
    torch.manual_seed(0)
    module, x = (
        GeneralizedAttention(8, terms="0010", heads=2, gate=True, ndim=1),
        torch.randn(2, 5, 8),
    )
    plain = GeneralizedAttention(8, terms="0010", heads=2, ndim=1)
    plain.load_state_dict(module.state_dict(), strict=False)
    with torch.no_grad():
        plain.output.weight.copy_(torch.eye(8))
        plain.output.bias.zero_()
    attended = plain(x)
    assert_close(module(x), module.output(attended * module.gate(x).sigmoid()))


def test_a_pickle_of_a_version_without_extensions_is_read():
    module, x = GeneralizedAttention(8, terms="1111", heads=2, ndim=1), torch.randn(2, 5, 8)
    expected = module(x)
    for name in ("rotary", "query_norm", "key_norm", "gate", "relative_bias"):
        del vars(module)[name]
    added = (
        "rotary",
        "rotary_wavelength",
        "qk_norm",
        "gate",
        "position",
        "max_distance",
        "null_key",
    )
    for name in added:
        del vars(module.spec)[name]
    loaded = pickle.loads(pickle.dumps(module))
    assert_close(loaded(x), expected)
    assert loaded.spec == AttentionSpec(terms="1111", heads=2)
