import pytest
import torch
from torch.testing import assert_close

from quatrain.nn import GeneralizedAttention
from quatrain.nn.query_key import HeadNorm, Rotary
from quatrain.specs import Term


def attention(ndim=1, **fields):
    torch.manual_seed(0)
    return GeneralizedAttention(16, ndim=ndim, heads=2, **fields).double()


def content(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def split(x):
    return x.unflatten(2, (2, -1)).transpose(1, 2)


@pytest.mark.parametrize("terms", ["1000", "1110", "1111"])
def test_the_logits_of_e1_alone_are_those_of_normalized_and_rotated_operands(terms):
    module, x = attention(terms=terms, rotary="axial", qk_norm=True), content(2, 7, 16)
    with torch.no_grad():
        module.query_norm.weight.normal_()
        module.key_norm.weight.normal_()
    explained = module.explain(x)
    query, key = split(module.query(x)), split(module.key(x))
    normalized = [
        y * y.square().mean(-1, keepdim=True).rsqrt() * norm.weight[:, None]
        for y, norm in ((query, module.query_norm), (key, module.key_norm))
    ]
    turned = [module.rotary(y, torch.arange(7)[:, None]) for y in normalized]
    assert_close(explained.logits[Term.QUERY_KEY], turned[0] @ turned[1].mT * module.scale)
    plain = attention(terms=terms)
    plain.load_state_dict(module.state_dict(), strict=False)
    others = plain.explain(x).logits
    for term in explained.logits.keys() - {Term.QUERY_KEY}:
        assert_close(explained.logits[term], others[term])


@pytest.mark.parametrize("rotary", ["axial", "mixed"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_shifted_input_has_the_shifted_output(rotary, ndim):
    module = attention(ndim, terms="1011", rotary=rotary, window=3)
    sizes = (9,) if ndim == 1 else (7, 8)
    x = torch.zeros(1, *sizes, 16, dtype=torch.float64)
    inside = (slice(None), *[slice(2, -3)] * ndim)
    x[inside] = content(*x[inside].shape)
    shifted = x.roll([1] * ndim, dims=tuple(range(1, ndim + 1)))

    def output(y):
        return module(y) if ndim == 1 else module(y.movedim(-1, 1)).movedim(1, -1)

    moved = output(x).roll([1] * ndim, dims=tuple(range(1, ndim + 1)))
    core = (slice(None), *[slice(3, -2)] * ndim)
    assert_close(output(shifted)[core], moved[core])


def test_strided_keys_are_rotated_by_their_places_among_the_queries():
    module, x = attention(terms="1000", rotary="axial", key_stride=2), content(1, 6, 16)
    explained = module.explain(x)
    whole = attention(terms="1000", rotary="axial")
    whole.load_state_dict(module.state_dict())
    expected = whole.explain(x).logits[Term.QUERY_KEY][..., ::2]
    assert_close(explained.logits[Term.QUERY_KEY], expected)


def test_rotary_attention_equals_that_of_llama():
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    config = transformers.LlamaConfig(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    llama, angles = LlamaAttention(config, layer_idx=0).double(), LlamaRotaryEmbedding(config)
    module, x = attention(terms="1000", rotary="axial"), content(2, 11, 16)
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    with torch.no_grad():
        module.output.bias.zero_()
        for ours, theirs in names.items():
            getattr(module, ours).weight.copy_(getattr(llama, theirs).weight)
    position = torch.arange(11)[None]
    inverse = 10_000.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    phase = torch.cat([position[..., None] * inverse] * 2, dim=-1)
    cosine, _ = angles(x, position)
    assert_close(phase.cos().float(), cosine.float(), atol=1e-5, rtol=0)
    masked = torch.full((11, 11), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    expected, _ = llama(x, position_embeddings=(phase.cos(), phase.sin()), attention_mask=masked)
    assert_close(module(x, causal=True), expected)


@pytest.mark.parametrize("scaled", [True, False])
def test_normalized_logits_of_random_content_have_a_variance_of_one(scaled):
    torch.manual_seed(0)
    module = GeneralizedAttention(256, ndim=1, heads=4, terms="1000", qk_norm=True, scaled=scaled)
    logits = module.explain(100 * torch.randn(2, 64, 256)).logits[Term.QUERY_KEY]
    assert abs(logits.var().item() - 1) < 0.1


def test_a_norm_of_zeros_is_zero_with_finite_gradients():
    norm, x = HeadNorm(2, 4), torch.zeros(1, 2, 3, 4, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert y.abs().max() == 0
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("ndim", [1, 2])
def test_learned_frequencies_begin_with_the_sizes_of_fixed_ones(ndim):
    torch.manual_seed(0)
    mixed = Rotary("mixed", 2, 8, ndim, 100.0)
    planes = 4 // ndim
    sizes = 100.0 ** -(torch.arange(planes) / planes).repeat(ndim)
    assert_close(mixed.mixed.norm(dim=1), sizes.expand(2, 4))


@pytest.mark.parametrize("window", [None, 3])
def test_decoding_with_rotary_positions_caches_one_key_and_one_number_per_token(window):
    module, x = attention(terms="1011", rotary="axial", window=window), content(2, 9, 16)
    state, outputs = None, []
    with torch.no_grad():
        for token in x.split(1, dim=1):
            output, state = module.step(token, state)
            outputs.append(output)
        assert_close(torch.cat(outputs, dim=1), module(x, causal=True))
    kept = 9 if window is None else 3
    assert state.tokens == 9
    assert state.key is None
    assert state.paired_key.shape == (2, 2, kept, 8)
    assert state.key_logit.shape == (2, 2, kept)
