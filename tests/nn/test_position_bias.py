import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from quatrain.nn import AttentionSpec, GeneralizedAttention
from quatrain.nn.attention_state import RunningState
from quatrain.nn.position_bias import t5_buckets
from quatrain.specs import Term

KINDS = ["table", "t5", "alibi", "swin", "cpb"]
every_kind = pytest.mark.parametrize("position", KINDS)


def attention(position, terms="1111", ndim=1, **fields):
    torch.manual_seed(0)
    module = GeneralizedAttention(16, terms=terms, heads=2, ndim=ndim, position=position, **fields)
    for parameter in () if module.relative_bias is None else module.relative_bias.parameters():
        nn.init.normal_(parameter)
    return module.double()


def content(*sizes, seed=1):
    shape = (2, *sizes, 16) if len(sizes) == 1 else (2, 16, *sizes)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def number(module, head, offsets):
    """E4 of a head at a relative position, from the definitions."""
    bias, kind = module.relative_bias, module.spec.position
    if kind == "alibi":
        return -sum(map(abs, offsets)) * 2.0 ** (-8 * (head + 1) / module.spec.heads)
    distance = bias.max_distance
    if kind == "t5":
        axes = enumerate(t5_buckets(torch.tensor(offsets), distance).tolist())
        return sum(bias.weight[axis, head, bucket] for axis, bucket in axes)
    if kind == "cpb":
        scaled = [8 * p / distance for p in offsets]
        inputs = [math.copysign(math.log2(1 + abs(x)) / math.log2(8), x) for x in scaled]
        hidden = bias.hidden(torch.tensor(inputs, dtype=torch.float64)).clamp(min=0)
        return 16 * torch.sigmoid(bias.output(hidden)[head])
    clipped = [max(-distance, min(distance, p)) + distance for p in offsets]
    if kind == "swin":
        return bias.weight[(head, *clipped)]
    return sum(bias.weight[axis, head, index] for axis, index in enumerate(clipped))


@every_kind
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sizes", [(7,), (3, 5)])
def test_the_logits_of_e4_are_the_numbers_of_relative_positions(position, sizes, stride):
    fields = {} if position == "alibi" else {"max_distance": 9 if position == "t5" else 2}
    module = attention(position, ndim=len(sizes), key_stride=stride, **fields)
    explained = module.explain(content(*sizes)).logits
    queries = list(itertools.product(*map(range, sizes)))
    keys = list(itertools.product(*(range(0, size, stride) for size in sizes)))
    expected = [
        torch.as_tensor(number(module, head, [k - q for q, k in zip(query, key, strict=True)]))
        for head, query, key in itertools.product(range(2), queries, keys)
    ]
    expected = torch.stack(expected).double().view(1, 2, len(queries), len(keys))
    assert_close(explained[Term.POSITION], expected.expand(2, -1, -1, -1))
    plain = attention(None, "1110", len(sizes), key_stride=stride)
    plain.load_state_dict(module.state_dict(), strict=False)
    others = plain.explain(content(*sizes)).logits
    for term, logits in others.items():
        assert_close(explained[term], logits)


@every_kind
@pytest.mark.parametrize("terms", ["0001", "0011", "0111", "1111"])
@pytest.mark.parametrize(("sizes", "call"), [((300,), {"causal": True}), ((13, 41), {})])
def test_the_chosen_method_agrees_with_the_reference(position, terms, sizes, call):
    module, x = attention(position, terms, len(sizes)), content(*sizes)
    weights = list(module.parameters())
    outputs = [module(x, method=method, **call) for method in ("auto", "reference")]
    grads = [torch.autograd.grad(y.square().sum(), weights) for y in outputs]
    assert_close(*outputs)
    assert_close(*grads)


@every_kind
@pytest.mark.parametrize("terms", ["0001", "0011", "1101"])
@pytest.mark.parametrize("window", [None, 3])
def test_decoding_step_by_step_equals_the_causal_pass(position, terms, window):
    module, x = attention(position, terms, window=window), content(9)
    state, outputs = None, []
    for token in x.split(1, dim=1):
        output, state = module.step(token, state)
        outputs.append(output)
    assert_close(torch.cat(outputs, dim=1), module(x, causal=True))
    sums = position == "alibi" and window is None and terms != "1101"
    assert isinstance(state, RunningState) == sums


@pytest.mark.parametrize(
    ("position", "ndim", "window", "distance"),
    [
        *(("table", 1, None, 128), ("table", 2, None, 128), ("table", 1, 7, 6)),
        *(("table", 2, 7, 3), ("t5", 1, 7, 128), ("swin", 2, None, 31), ("swin", 2, 7, 3)),
        *(("swin", 1, None, 128), ("cpb", 2, 1, 1), ("cpb", 2, None, 31)),
    ],
)
def test_the_default_distance_covers_the_window(position, ndim, window, distance):
    module = AttentionSpec(heads=2, position=position, window=window).build(8, ndim)
    assert module.relative_bias.max_distance == distance


def test_the_slopes_of_alibi_are_powers_of_two():
    slopes = attention("alibi").relative_bias.slopes(torch.zeros(0))
    assert slopes.flatten().tolist() == [2**-4, 2**-8]
    assert sum(p.numel() for p in attention("alibi").relative_bias.parameters()) == 0


def copy_linears(module, names, theirs):
    """Copy the weights, and the bias of the last, from the linear layers of another attention."""
    layers = [part for part in theirs.modules() if type(part) is nn.Linear]
    with torch.no_grad():
        module.output.bias.zero_()
        for name, layer in zip(names, layers, strict=True):
            getattr(module, name).weight.copy_(layer.weight)
        if layer.bias is not None:
            module.output.bias.copy_(layer.bias)


def test_attention_with_t5_buckets_equals_that_of_t5():
    transformers = pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "dropout_rate": 0.0}
    config = transformers.T5Config(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    t5 = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    module, x = attention("t5", "1001", scaled=False), content(300)
    copy_linears(module, ("query", "key", "value", "output"), t5)
    with torch.no_grad():
        module.relative_bias.weight.copy_(t5.relative_attention_bias.weight.T)
    assert_close(module(x), t5(x)[0])


def test_attention_with_a_joint_table_equals_that_of_swin():
    transformers = pytest.importorskip("transformers")
    from transformers.models.swin.modeling_swin import SwinAttention

    config = transformers.SwinConfig(qkv_bias=False, attn_implementation="eager")
    torch.manual_seed(0)
    swin = SwinAttention(config, 16, 2, 5).double().eval()
    tables = [p for name, p in swin.named_parameters() if name.endswith("_bias_table")]
    nn.init.normal_(tables[0])
    module, x = attention("swin", "1001", ndim=2, scaled=True, max_distance=4), content(5, 5)
    copy_linears(module, ("query", "key", "value", "output"), swin)
    with torch.no_grad():  # theirs is in the order of q - k
        module.relative_bias.weight.copy_(tables[0].T.view(2, 9, 9).flip(1, 2))
    expected = swin(x.flatten(2).mT)[0]
    assert_close(module(x).flatten(2).mT, expected)


def test_the_continuous_bias_equals_that_of_swin_v2():
    transformers = pytest.importorskip("transformers")
    from transformers.models.swinv2.modeling_swinv2 import Swinv2Attention

    config = transformers.Swinv2Config(qkv_bias=False)
    torch.manual_seed(0)
    swin = Swinv2Attention(config, 16, 2, 5).double().eval()
    hidden, _, output = swin.self.continuous_position_bias_mlp
    module, x = attention("cpb", "0001", ndim=2, max_distance=4), content(5, 5)
    with torch.no_grad():
        swin.self.query.weight.zero_()  # leaves the bias alone
        module.value.weight.copy_(swin.self.value.weight)
        module.output.load_state_dict(swin.output.dense.state_dict())
        module.relative_bias.hidden.weight.copy_(-hidden.weight)  # theirs is of q - k
        module.relative_bias.hidden.bias.copy_(hidden.bias)
        module.relative_bias.output.weight.copy_(output.weight)
    expected = swin(x.flatten(2).mT)[0]
    assert_close(module(x).flatten(2).mT, expected, rtol=1e-6, atol=1e-6)
