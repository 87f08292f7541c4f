import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from quatrain.insertion import insert, replace
from quatrain.insertion.arguments import height_and_width
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError

MIXERS = ["1111", "0010", "0011", "0100@3", "dynamic@3", "lightweight@3", "deformable"]


class Attention(nn.Module):
    """As in transformers and timm."""

    def __init__(self, is_causal):
        super().__init__()
        self.qkv, self.is_causal = nn.Linear(16, 48), is_causal

    def forward(self, hidden, attention_mask=None):
        q, k, v = self.qkv(hidden).chunk(3, -1)
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


IDS, REAL = torch.arange(14).view(2, 7), (torch.arange(7) < torch.tensor([[7], [4]])).long()
PADDED = {"ids": IDS, "attention_mask": REAL}
PLACES = ["tokens", "blocks.*", "blocks.*.mlp", "blocks.0.mlp.0", "blocks.1.attention"]
EVERY_MIXER_AND_PLACE = [
    *((text, "blocks.*.mlp") for text in MIXERS),
    *(("1111", place) for place in PLACES if place != "blocks.*.mlp"),
]


def enable(surgery):
    """Let the mixers contribute to the outputs."""
    for wrapper in surgery.wrappers.values():
        nn.init.ones_(wrapper.block.gamma)


@pytest.mark.parametrize(("text", "place"), EVERY_MIXER_AND_PLACE)
@pytest.mark.parametrize("placement", ["before", "after"])
def test_causal_mixer_does_not_see_the_future(text, place, placement):
    if (placement, place) == ("before", "tokens"):
        return  # its input has no channels
    model, mixer = Model(is_causal=True), parse_mixer(text, heads=2)
    plain = model(IDS)
    enable(insert(model, mixer, **{placement: place}, example=IDS, causal=True))
    y, other = model(IDS), model(torch.cat((IDS[:, :4], IDS[:, 4:] + 5), 1))
    torch.testing.assert_close(y[:, :4], other[:, :4])
    assert not torch.allclose(y[:, 4:], other[:, 4:])
    assert not torch.allclose(y, plain)


@pytest.mark.parametrize(("text", "place"), EVERY_MIXER_AND_PLACE)
def test_mixer_with_padding_mask_does_not_see_padding(text, place):
    model, mixer = Model(), parse_mixer(text, heads=2)
    plain = model(**PADDED)
    surgery = insert(model, mixer, after=place, example=PADDED, key_padding_mask="attention_mask")
    assert torch.equal(model(**PADDED), plain)
    enable(surgery)
    y = model(**PADDED)
    other = model(torch.where(REAL == 1, IDS, IDS + 9), attention_mask=REAL)
    torch.testing.assert_close(y[REAL == 1], other[REAL == 1])
    assert not torch.allclose(y[REAL == 1], plain[REAL == 1])
    assert model(IDS).shape == y.shape  # a call without mask has no padding


@pytest.mark.parametrize("place", PLACES)
def test_causal_model_requires_causal(place):
    with pytest.raises(InputError) as caught:
        insert(Model(is_causal=True), parse_mixer("0010"), after=place, example=IDS)
    assert caught.value.field == "causal"
    assert "Attention" in str(caught.value)
    insert(Model(is_causal=True), parse_mixer("0010"), after=place, example=IDS, causal=False)
    insert(Model(), parse_mixer("0010"), after=place, example=IDS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("causal", [None, True])
def test_padded_model_requires_the_name_of_its_mask(place, causal):
    with pytest.raises(InputError) as caught:
        insert(Model(), parse_mixer("0010"), after=place, example=PADDED, causal=causal)
    assert "key_padding_mask" in caught.value.field
    assert "attention_mask" in str(caught.value)
    assert "key_padding_mask=False" in str(caught.value)
    model = Model()
    insert(model, parse_mixer("0010"), after=place, example=PADDED, key_padding_mask=False)


def test_mask_that_was_not_in_the_example_raises_in_the_call():
    model = Model()
    insert(model, parse_mixer("0010"), after="blocks.0", example=IDS)
    with pytest.raises(InputError) as caught:
        model(**PADDED)
    assert caught.value.field == "attention_mask"


def encoder(batch_first=True):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.mark.parametrize("place", ["layers.*", "layers.0.linear1", "layers.*.norm1"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_padding_mask_of_torch_transformer_encoder_is_read(place, batch_first):
    model, x = encoder(batch_first), torch.randn(2, 7, 16)
    padding, name = REAL == 0, "src_key_padding_mask"
    other = torch.where(padding[..., None], x + 1, x)
    if not batch_first:
        x, other = x.transpose(0, 1), other.transpose(0, 1)
    example, mixer = {"src": x, name: padding}, parse_mixer("1111", heads=2)
    with pytest.raises(InputError) as caught:
        insert(model, mixer, after=place, example=example)
    assert caught.value.field == "key_padding_mask"
    enable(insert(model, mixer, after=place, example=example, key_padding_mask=name))
    y, changed = (model(each, src_key_padding_mask=padding) for each in (x, other))
    real = ~padding if batch_first else ~padding.T
    torch.testing.assert_close(y[real], changed[real])


@pytest.mark.parametrize("flag", [True, False])
def test_causal_mask_of_torch_transformer_encoder_requires_causal(flag):
    model, x = encoder(), torch.randn(2, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    example = {"src": x, "mask": mask, "is_causal": flag}
    mixer, place = parse_mixer("0010"), "layers.0.linear2"
    with pytest.raises(InputError) as caught:
        insert(model, mixer, after=place, example=example)
    assert caught.value.field == ("causal" if flag else "causal, key_padding_mask")
    enable(insert(model, mixer, after=place, example=example, causal=True))
    other = torch.cat((x[:, :4], x[:, 4:] + 1), 1)
    y, changed = (model(each, mask=mask, is_causal=flag) for each in (x, other))
    torch.testing.assert_close(y[:, :4], changed[:, :4])


def test_unknown_mask_and_causal_maps_raise():
    mixer, images = parse_mixer("0010"), torch.randn(2, 3, 4, 4)
    with pytest.raises(InputError) as caught:
        insert(Model(), mixer, after="blocks.0", example=PADDED, key_padding_mask="mask")
    assert caught.value.field == "key_padding_mask"
    assert "'mask'" in str(caught.value)
    for attempt in (
        lambda: insert(
            nn.Sequential(nn.Conv2d(3, 8, 1)), mixer, after="0", example=images, causal=True
        ),
        lambda: replace(Caller(h=2, w=3), mixer, at="inner", example=X, causal=True),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert caught.value.field == "causal"


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(
        self, x, attn_mask=None, key_padding_mask=None, is_causal=False, rope=None, h=1, w=1,
        size=None, need_weights=True, kv_padding=None, kv_causal=False,
    ):  # fmt: skip
        del attn_mask, key_padding_mask, is_causal, rope, h, w, size, need_weights, kv_padding
        del kv_causal
        return self.layer(x)


class Caller(nn.Module):
    """A network that calls its part with fixed arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last = Part(), nn.Linear(16, 16)
        self.args, self.kwargs = args, kwargs

    def forward(self, x):
        return self.last(self.inner(x, *self.args, **self.kwargs))


X = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
PADDING = torch.arange(6).expand(2, 6) >= torch.tensor([[6], [4]])


def assert_replaced(network, mixer, *, options=None, **block_options):
    """Replace the inner part, and compare with a call of its block with these options."""
    block = (
        replace(network, mixer, at="inner", example=X, **(options or {})).wrappers["inner"].block
    )
    torch.testing.assert_close(network(X), network.last(block(X, **block_options)))


@pytest.mark.parametrize(
    "network",
    [
        Caller(),
        Caller(None),
        Caller(attn_mask=None, rope=None),
        Caller(None, None, False, need_weights=True),
        Caller(h=1),
    ],
)
def test_arguments_at_their_defaults_are_accepted(network):
    assert_replaced(network, parse_mixer("0110"))


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (Caller(torch.ones(6, 6)), "attn_mask"),
        (Caller(attn_mask=torch.ones(2, 6, 6)), "attn_mask"),
        (Caller(rope=torch.ones(6, 8)), "rope"),
        (Caller(need_weights=False, rope="x"), "rope"),
        (Caller(h=2, w=4), "h"),
        (Caller(size=(6, 6)), "size"),
        (Caller(None, None, False, X), "rope"),
        (Caller(key_padding_mask=PADDING, kv_padding=~PADDING), "kv_padding"),
        (Caller(is_causal=True, kv_causal=True), "kv_causal"),
    ],
)
def test_argument_that_the_mixer_cannot_use_raises(network, name):
    with pytest.raises(InputError) as caught:
        replace(network, parse_mixer("0110"), at="inner", example=X)
    assert caught.value.field == "inner"
    assert f'called with "{name}"' in str(caught.value)
    assert isinstance(network.inner, Part)


def test_options_choose_between_two_padding_masks_and_two_flags():
    mixer = parse_mixer("0110")
    network = Caller(key_padding_mask=PADDING, kv_padding=~PADDING)
    options = {"key_padding_mask": "key_padding_mask"}
    assert_replaced(network, mixer, options=options, key_padding_mask=PADDING)
    network = Caller(is_causal=True, kv_causal=True)
    assert_replaced(network, mixer, options={"causal": True}, causal=True)


def test_ignored_argument_is_not_read_and_an_unknown_one_raises():
    mixer, options = parse_mixer("0110"), {"ignore": ["rope"]}
    assert_replaced(Caller(rope=torch.ones(6, 8)), mixer, options=options)
    with pytest.raises(InputError) as caught:
        replace(Caller(), mixer, at="inner", example=X, ignore=["ropes"])
    assert caught.value.field == "ignore"


def test_padding_argument_without_mask_in_its_name_is_a_mask():
    network = Caller()
    with pytest.raises(InputError) as caught:
        insert(Caller(kv_padding=PADDING), parse_mixer("0110"), after="inner", example=X)
    assert caught.value.field == "key_padding_mask"
    insert(network, parse_mixer("0110"), after="inner", example=X)
    with pytest.raises(InputError) as caught:
        network.inner(X, kv_padding=PADDING)
    assert caught.value.field == "kv_padding"


@pytest.mark.parametrize("text", MIXERS)
def test_replacement_reads_padding_mask_and_causal_flag(text):
    mixer = parse_mixer(text, heads=2)
    for network, options in (
        (Caller(key_padding_mask=PADDING), {"key_padding_mask": PADDING}),
        (Caller(is_causal=True), {"causal": True}),
        (Caller(None, PADDING, True), {"key_padding_mask": PADDING, "causal": True}),
    ):
        assert_replaced(network, mixer, **options)


def test_causal_mask_is_redundant_with_causal():
    future = torch.ones(6, 6).triu(1).bool()
    mixer, options = parse_mixer("0110"), {"causal": True}
    for mask in (future, ~future, torch.zeros(6, 6).masked_fill(future, -torch.inf)):
        assert_replaced(Caller(attn_mask=mask), mixer, options=options, causal=True)
    with pytest.raises(InputError) as caught:
        replace(Caller(attn_mask=torch.eye(6).bool()), mixer, at="inner", example=X, causal=True)
    assert caught.value.field == "inner"


@pytest.mark.parametrize("sizes", [{"h": 2, "w": 3}, {"size": (2, 3)}, {"size": [2, 3]}])
def test_sequence_of_pixels_with_its_size_is_read_as_a_map(sizes):
    network = Caller(**sizes)
    surgery = replace(network, parse_mixer("0110"), at="inner", example=X)
    block = surgery.wrappers["inner"].block
    expected = block(X.transpose(1, 2).unflatten(2, (2, 3))).flatten(2).transpose(1, 2)
    torch.testing.assert_close(network(X), network.last(expected))
    assert block.ndim == 2


def test_size_is_two_numbers_or_a_pair():
    assert height_and_width((2, 3)) == height_and_width(([2, 3],)) == (2, 3)


@pytest.mark.parametrize("place", ["tokens", "blocks.*.mlp"])
def test_square_causal_mask_is_not_accepted_as_padding(place):
    mask = torch.ones(7, 7).tril().long()
    ids, options = torch.arange(49).view(7, 7) % 40, {"key_padding_mask": "attention_mask"}
    example = {"ids": ids, "attention_mask": mask}
    with pytest.raises(InputError) as caught:
        insert(Model(), parse_mixer("0010"), after=place, example=example, **options)
    assert caught.value.field == "attention_mask"
    padding = {"ids": ids, "attention_mask": mask.flip(1).roll(1, 0)}
    insert(Model(), parse_mixer("0010"), after=place, example=padding, **options)


def test_new_argument_after_replacing_raises():
    network = Caller()
    replace(network, parse_mixer("0110"), at="inner", example=X)
    with pytest.raises(InputError) as caught:
        network.inner(X, attn_mask=torch.ones(6, 6))
    assert caught.value.field == "attn_mask"
    assert network.inner(x=X, attn_mask=None).shape == X.shape


class KeywordCaller(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.conv = Part(), nn.Conv1d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.conv(input=self.inner(attn_mask=None, x=x).transpose(1, 2))


@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize("place", ["inner", "conv"])
def test_place_may_be_called_by_keyword(placement, place):
    network = KeywordCaller()
    plain = network(X)
    surgery = insert(network, parse_mixer("0110"), **{placement: place}, example=X)
    assert torch.equal(network(X), plain)
    enable(surgery)
    assert not torch.allclose(network(X), plain)
    surgery.remove()
    replace(network, parse_mixer("0110"), at="inner", example=X)
    replace(network, parse_mixer("deformable"), at="conv")
    assert network(X).shape == plain.shape


@pytest.mark.slow
def test_models_of_transformers_are_masked():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 40}
    config = transformers.BertConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    model = transformers.BertModel(config).eval()
    example, name = {"input_ids": IDS, "attention_mask": REAL}, "attention_mask"
    mixer = parse_mixer("1111", heads=2)
    for place in ("encoder.layer.0", "encoder.layer.*.output", "embeddings"):
        with pytest.raises(InputError):
            insert(model, mixer, after=place, example=example)
        surgery = insert(model, mixer, after=place, example=example, key_padding_mask=name)
        enable(surgery)
        other = torch.where(REAL == 1, IDS, IDS + 9)
        outputs = [model(ids, attention_mask=REAL).last_hidden_state for ids in (IDS, other)]
        y, changed = (output[REAL == 1] for output in outputs)
        torch.testing.assert_close(y, changed)
        surgery.remove()
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40)
    with pytest.raises(InputError) as caught:
        insert(transformers.GPT2Model(config), mixer, after="h.0.mlp", example=IDS)
    assert caught.value.field == "causal"
    assert "GPT2Attention" in str(caught.value)
