import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from quatrain.insertion import insert, replace
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError

MIXERS = ["1111", "0010", "0011", "0100@3", "dynamic@3", "lightweight@3", "deformable"]


class Attention(nn.Module):
    """As transformers and timm write it."""

    def __init__(self, is_causal):
        super().__init__()
        self.mix, self.is_causal = nn.Linear(16, 48), is_causal

    def forward(self, hidden, attention_mask=None):
        q, k, v = self.mix(hidden).chunk(3, -1)
        causal = self.is_causal and attention_mask is None
        return scaled_dot_product_attention(q, k, v, attention_mask, is_causal=causal)


class Block(nn.Module):
    def __init__(self, is_causal):
        super().__init__()
        self.attention, self.mlp = Attention(is_causal), nn.Sequential(nn.Linear(16, 16), nn.GELU())

    def forward(self, hidden, attention_mask=None):
        hidden = hidden + self.attention(hidden, attention_mask=attention_mask)
        return hidden + self.mlp(hidden)


class Model(nn.Module):
    """A small GPT-2 or BERT: a mask of (B, T), 1 at real tokens, becomes one of (B, T, T)."""

    def __init__(self, is_causal=False):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(40, 16)
        self.blocks = nn.ModuleList([Block(is_causal), Block(is_causal)])
        self.is_decoder = is_causal
        self.eval()

    def forward(self, ids, attention_mask=None):
        hidden, mask = self.tokens(ids), None
        if attention_mask is not None:
            size = ids.shape[1]
            mask = attention_mask[:, None].bool().expand(-1, size, -1)
            mask = mask & torch.ones(size, size).tril().bool() if self.is_decoder else mask
            mask = mask | torch.eye(size).bool()
        for block in self.blocks:
            hidden = block(hidden, attention_mask=mask)
        return hidden


IDS = torch.arange(14).view(2, 7)
REAL = (torch.arange(7) < torch.tensor([[7], [4]])).long()
PADDED = {"ids": IDS, "attention_mask": REAL}
PLACES = ["tokens", "blocks.*", "blocks.*.mlp", "blocks.0.mlp.0", "blocks.1.attention"]


def opened(change):
    for each in change.wrappers.values():
        nn.init.ones_(each.block.gamma)


@pytest.mark.parametrize("text", MIXERS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_future_changes_nothing_in_the_past_of_a_causal_model(text, place, side):
    if (side, place) == ("before", "tokens"):
        pytest.skip("ids are no sequence of channels")
    model = Model(is_causal=True)
    plain = model(IDS)
    opened(insert(model, parse_mixer(text, heads=2), **{side: place}, example=IDS, causal=True))
    given, other = model(IDS), model(torch.cat((IDS[:, :4], IDS[:, 4:] + 5), 1))
    torch.testing.assert_close(given[:, :4], other[:, :4])
    assert not torch.allclose(given[:, 4:], other[:, 4:])
    assert not torch.allclose(given, plain)


@pytest.mark.parametrize("text", MIXERS)
@pytest.mark.parametrize("place", PLACES)
def test_padding_changes_nothing_in_real_tokens(text, place):
    model = Model()
    mixer = parse_mixer(text, heads=2)
    plain = model(**PADDED)
    change = insert(model, mixer, after=place, example=PADDED, key_padding_mask="attention_mask")
    assert torch.equal(model(**PADDED), plain)
    opened(change)
    given = model(**PADDED)
    other = model(torch.where(REAL == 1, IDS, IDS + 9), attention_mask=REAL)
    torch.testing.assert_close(given[REAL == 1], other[REAL == 1])
    assert not torch.allclose(given[REAL == 1], plain[REAL == 1])
    assert model(IDS).shape == given.shape  # without a mask nothing is padding


@pytest.mark.parametrize("place", PLACES)
def test_a_causal_model_is_refused_until_causal_is_given(place):
    with pytest.raises(InputError, match=r"causal model \(Attention\).*causal=True"):
        insert(Model(is_causal=True), parse_mixer("0010"), after=place, example=IDS)
    insert(Model(is_causal=True), parse_mixer("0010"), after=place, example=IDS, causal=False)
    insert(Model(), parse_mixer("0010"), after=place, example=IDS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("causal", [None, True])
def test_a_padded_model_is_refused_until_its_mask_is_named(place, causal):
    with pytest.raises(InputError, match=r"attention_mask.*key_padding_mask=False"):
        insert(Model(), parse_mixer("0010"), after=place, example=PADDED, causal=causal)
    model = Model()
    insert(model, parse_mixer("0010"), after=place, example=PADDED, key_padding_mask=False)


def test_a_mask_that_the_example_did_not_show_is_refused_when_it_comes():
    model = Model()
    insert(model, parse_mixer("0010"), after="blocks.0", example=IDS)
    with pytest.raises(InputError, match=r"attention_mask is .a Tensor"):
        model(**PADDED)


def encoder(**settings):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=settings.get("batch_first", True))
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.mark.parametrize("place", ["layers.*", "layers.0.linear1", "layers.*.norm1"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_own_encoder_hands_its_padding_on(place, batch_first):
    model, x = encoder(batch_first=batch_first), torch.randn(2, 7, 16)
    padding = REAL == 0
    other = torch.where(padding[..., None], x + 1, x)
    if not batch_first:
        x, other = x.transpose(0, 1), other.transpose(0, 1)
    example = {"src": x, "src_key_padding_mask": padding}
    mixer = parse_mixer("1111", heads=2)
    with pytest.raises(InputError, match=r"^key_padding_mask is None.*src_key_padding_mask"):
        insert(model, mixer, after=place, example=example)
    name = "src_key_padding_mask"
    opened(insert(model, mixer, after=place, example=example, key_padding_mask=name))
    given, changed = (model(each, src_key_padding_mask=padding) for each in (x, other))
    real = ~padding if batch_first else ~padding.T
    torch.testing.assert_close(given[real], changed[real])


@pytest.mark.parametrize("flag", [True, False])
def test_torchs_own_encoder_with_a_mask_of_the_future_is_refused_until_causal_is_given(flag):
    model, x = encoder(), torch.randn(2, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    example = {"src": x, "mask": mask, "is_causal": flag}
    with pytest.raises(InputError, match="causal"):
        insert(model, parse_mixer("0010"), after="layers.0.linear2", example=example)
    opened(
        insert(model, parse_mixer("0010"), after="layers.0.linear2", example=example, causal=True)
    )
    other = torch.cat((x[:, :4], x[:, 4:] + 1), 1)
    given, changed = (model(each, mask=mask, is_causal=flag) for each in (x, other))
    torch.testing.assert_close(given[:, :4], changed[:, :4])


def test_what_cannot_be_told_is_refused():
    mixer = parse_mixer("0010")
    with pytest.raises(InputError, match=r"key_padding_mask is .mask.*choose of attention_mask"):
        insert(Model(), mixer, after="blocks.0", example=PADDED, key_padding_mask="mask")
    images, model = torch.randn(2, 3, 4, 4), nn.Sequential(nn.Conv2d(3, 8, 1))
    with pytest.raises(InputError, match=r"causal is True, expected False on a map.*not at 0"):
        insert(model, mixer, after="0", example=images, causal=True)
    with pytest.raises(InputError, match="not at inner"):
        replace(Calls(h=2, w=3), mixer, at="inner", example=X, causal=True)


class Calls(nn.Module):
    """A network that calls its part with arguments of its own."""

    def __init__(self, *inputs, **named):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last = Part(), nn.Linear(16, 16)
        self.inputs, self.named = inputs, named

    def forward(self, x):
        return self.last(self.inner(x, *self.inputs, **self.named))


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(
        self, x, attn_mask=None, key_padding_mask=None, is_causal=False, rope=None, h=1, w=1,
        size=None, need_weights=True,
    ):  # fmt: skip
        del attn_mask, key_padding_mask, is_causal, rope, h, w, size, need_weights
        return self.layer(x)


X = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "network",
    [
        Calls(),
        Calls(None),
        Calls(attn_mask=None, rope=None),
        Calls(None, None, False, need_weights=True),
        Calls(h=1),
    ],
)
def test_arguments_that_say_nothing_are_no_hindrance(network):
    change = replace(network, parse_mixer("0110"), at="inner", example=X)
    torch.testing.assert_close(network(X), network.last(change.wrappers["inner"].block(X)))


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (Calls(torch.ones(6, 6)), "attn_mask"),
        (Calls(attn_mask=torch.ones(2, 6, 6)), "attn_mask"),
        (Calls(rope=torch.ones(6, 8)), "rope"),
        (Calls(need_weights=False, rope="x"), "rope"),
        (Calls(h=2, w=4), "h"),
        (Calls(size=(6, 6)), "size"),
        (Calls(None, None, False, X), "rope"),
    ],
)
def test_an_argument_that_the_mixer_cannot_use_is_refused_by_name(network, name):
    with pytest.raises(InputError, match=f'^inner is "called with "{name}""'):
        replace(network, parse_mixer("0110"), at="inner", example=X)
    assert isinstance(network.inner, Part)


@pytest.mark.parametrize("text", MIXERS)
def test_padding_and_order_are_handed_to_what_replaces_a_module(text):
    padding = torch.arange(6).expand(2, 6) >= torch.tensor([[6], [4]])
    mixer = parse_mixer(text, heads=2)
    for network, options in (
        (Calls(key_padding_mask=padding), {"key_padding_mask": padding}),
        (Calls(is_causal=True), {"causal": True}),
        (Calls(None, padding, True), {"key_padding_mask": padding, "causal": True}),
    ):
        change = replace(network, mixer, at="inner", example=X)
        expected = network.last(change.wrappers["inner"].block(X, **options))
        torch.testing.assert_close(network(X), expected)


def test_a_mask_that_hides_the_future_and_no_more_is_what_causal_says():
    future = torch.ones(6, 6).triu(1).bool()
    for mask in (future, ~future, torch.zeros(6, 6).masked_fill(future, -torch.inf)):
        network = Calls(attn_mask=mask)
        change = replace(network, parse_mixer("0110"), at="inner", example=X, causal=True)
        expected = network.last(change.wrappers["inner"].block(X, causal=True))
        torch.testing.assert_close(network(X), expected)
    network = Calls(attn_mask=torch.eye(6).bool())
    with pytest.raises(InputError, match='called with "attn_mask"'):
        replace(network, parse_mixer("0110"), at="inner", example=X, causal=True)


@pytest.mark.parametrize("sizes", [{"h": 2, "w": 3}, {"size": (2, 3)}, {"size": [2, 3]}])
def test_pixels_that_come_as_a_sequence_with_their_sizes_are_a_map_again(sizes):
    network = Calls(**sizes)
    block = replace(network, parse_mixer("0110"), at="inner", example=X).wrappers["inner"].block
    expected = block(X.transpose(1, 2).unflatten(2, (2, 3))).flatten(2).transpose(1, 2)
    torch.testing.assert_close(network(X), network.last(expected))
    assert block.ndim == 2


@pytest.mark.parametrize("place", PLACES)
def test_a_causal_mask_is_no_padding_where_the_batch_is_as_long_as_the_sequence(place):
    mask = torch.ones(7, 7).tril().long()
    example = {"ids": torch.arange(49).view(7, 7) % 40, "attention_mask": mask}
    with pytest.raises(InputError, match=r"attention_mask is .a causal mask.*batch size differs"):
        insert(
            Model(), parse_mixer("0010"), after=place, example=example,
            key_padding_mask="attention_mask",
        )  # fmt: skip
    padding = {"ids": example["ids"], "attention_mask": mask.flip(1).roll(1, 0)}
    insert(
        Model(), parse_mixer("0010"), after=place, example=padding,
        key_padding_mask="attention_mask",
    )  # fmt: skip


def test_a_new_argument_after_replacing_is_refused_by_name():
    network = Calls()
    replace(network, parse_mixer("0110"), at="inner", example=X)
    with pytest.raises(InputError, match=r"attn_mask is .a Tensor"):
        network.inner(X, attn_mask=torch.ones(6, 6))
    assert network.inner(x=X, attn_mask=None).shape == X.shape


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.conv = Part(), nn.Conv1d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.conv(input=self.inner(attn_mask=None, x=x).transpose(1, 2))


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("place", ["inner", "conv"])
def test_a_place_that_is_called_by_name_serves(side, place):
    network = ByName()
    plain = network(X)
    change = insert(network, parse_mixer("0110"), **{side: place}, example=X)
    assert torch.equal(network(X), plain)
    opened(change)
    assert not torch.allclose(network(X), plain)
    change.remove()
    replace(network, parse_mixer("0110"), at="inner", example=X)
    replace(network, parse_mixer("deformable"), at="conv")
    assert network(X).shape == plain.shape


def test_transformers_own_models_are_masked_by_what_is_said():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        vocab_size=40,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    example = {"input_ids": IDS, "attention_mask": REAL}
    for place in ("encoder.layer.0", "encoder.layer.*.output", "embeddings"):
        mixer = parse_mixer("1111", heads=2)
        with pytest.raises(InputError, match="attention_mask"):
            insert(model, mixer, after=place, example=example)
        name = "attention_mask"
        change = insert(model, mixer, after=place, example=example, key_padding_mask=name)
        opened(change)
        other = torch.where(REAL == 1, IDS, IDS + 9)
        given, changed = (
            model(each, attention_mask=REAL).last_hidden_state[REAL == 1] for each in (IDS, other)
        )
        torch.testing.assert_close(given, changed)
        change.remove()
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40)
    with pytest.raises(InputError, match=r"causal model \(GPT2Attention\)"):
        insert(transformers.GPT2Model(config), mixer, after="h.0.mlp", example=IDS)


def test_attention_of_timm_is_replaced_with_the_arguments_that_it_is_called_with():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    x = torch.randn(1, 3, 64, 64)
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64).eval()
    replace(vit, parse_mixer("0110", heads=4), at="blocks.*.attn", example=x)
    assert vit(x).shape == (1, 1000)
    x, pvt = torch.randn(1, 3, 96, 96), timm.create_model("pvt_v2_b0", pretrained=False).eval()
    change = replace(pvt, parse_mixer("0110"), at="stages.*.blocks.*.attn", example=x)
    assert {each.block.ndim for each in change.wrappers.values()} == {2}
    assert pvt(x).shape == (1, 1000)
