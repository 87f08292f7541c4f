import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import term_sets
from quatrain.nn import AttentionSpec, DynamicConvSpec, parse_mixer
from quatrain.nn.transformer import (
    CrossAttentionSublayer,
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    LayerState,
    Residual,
)


def layer(kind, *mixers, norm="pre"):
    torch.manual_seed(0)
    return kind(8, 12, 0.1, norm, *mixers).double().eval()


def content(length, batch=2):
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, 8, dtype=torch.float64, generator=generator)


def attention(terms="1111", **fields):
    return AttentionSpec(terms=terms, heads=2, **fields)


def test_a_pre_norm_residual_normalizes_the_input_of_the_sub_layer_only():
    residual = Residual(8, 0.0, "pre").double()
    x, y = content(3), content(3, batch=2)
    assert_close(residual.add(x, y), x + y)
    assert_close(residual.prepare(x).mean(-1), torch.zeros(2, 3).double())


def test_a_post_norm_residual_normalizes_the_sum():
    residual = Residual(8, 0.0, "post").double()
    x = content(3)
    assert residual.prepare(x) is x
    assert_close(residual.add(x, x), torch.nn.functional.layer_norm(2 * x, (8,)))


def test_feed_forward_processes_each_position_separately():
    module, x = layer(FeedForward), content(4)
    assert_close(module(x)[:, 2:3], module(x[:, 2:3]))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_without_self_attention_the_encoder_layer_is_its_feed_forward(norm):
    module, x = layer(EncoderLayer, None, norm=norm), content(4)
    assert torch.equal(module(x, None), module.feed_forward(x))
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"feed_forward"}


def test_the_encoder_layer_ignores_padding():
    module, x = layer(EncoderLayer, attention()), content(4)
    longer = torch.cat((x, content(2)), dim=1)
    padding = torch.tensor([[False] * 4 + [True] * 2] * 2)
    assert_close(module(longer, padding)[:, :4], module(x, None))


def test_a_key_stride_applies_to_the_padding_mask():
    module, x = layer(EncoderLayer, attention(key_stride=2)), content(4)
    longer = torch.cat((x, content(3)), dim=1)
    padding = torch.tensor([[False] * 4 + [True] * 3] * 2)
    assert_close(module(longer, padding)[:, :4], module(x, None))


@settings(max_examples=20)
@given(term_sets, term_sets)
def test_a_decoder_layer_step_by_step_equals_the_full_pass(terms, cross):
    module = layer(DecoderLayer, attention(str(terms), window=3), attention(str(cross)))
    target, memory = content(5), content(4)
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    state, outputs = module.start(memory), []
    for t in range(5):
        output, state = module.step(target[:, t : t + 1], state, t, padding)
        outputs.append(output)
    assert_close(torch.cat(outputs, dim=1), module(target, memory, padding))


def test_selecting_rows_of_a_state_selects_from_mixer_and_memory():
    module = layer(DecoderLayer, attention(), attention())
    _, state = module.step(content(1), module.start(content(4)), 0, None)
    selected = state.select(torch.tensor([1]), torch.tensor([1]))
    assert torch.equal(selected.mixer.value, state.mixer.value[1:])
    assert torch.equal(selected.memory.key, state.memory.key[1:])


def test_a_layer_without_self_attention_has_no_mixer_state():
    module = layer(DecoderLayer, None, attention())
    _, state = module.step(content(1), module.start(content(4)), 0, None)
    assert isinstance(state, LayerState)
    assert state.select(torch.tensor([0]), torch.tensor([0])).mixer is None


@pytest.mark.parametrize("mixer", [None, "1111", "0010", "dynamic@3", "0010+deformable"])
def test_an_empty_batch_is_encoded_and_decoded(mixer):
    mixer = None if mixer is None else parse_mixer(mixer, heads=2)
    if isinstance(mixer, DynamicConvSpec):
        mixer = DynamicConvSpec(groups=2)
    encoder, decoder = layer(EncoderLayer, mixer), layer(DecoderLayer, mixer, attention())
    x, padding = content(5, batch=0).requires_grad_(), torch.zeros(0, 5, dtype=torch.bool)
    memory = encoder(x, padding)
    decoder(x, memory, padding).sum().backward()
    assert x.grad.shape == x.shape
    state, token = decoder.start(memory), x[:, :1]
    for position in range(2):
        y, state = decoder.step(token, state, position, padding)
        assert y.shape == token.shape


@pytest.mark.parametrize("text", ["0010", "0010 gate", "1010 gate", "0000 gate"])
def test_encoder_decoder_attention_that_reads_its_input_does_so_after_the_norm(text):
    module = CrossAttentionSublayer(8, 0.0, "pre", parse_mixer(text, heads=2)).double()
    x, memory = content(3), content(4)
    added = module(x, memory, None) - x
    assert_close(module(x * 100, memory, None) - x * 100, added, rtol=0, atol=1e-3)
