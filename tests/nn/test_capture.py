import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from laws import unchecked
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttentionSpec, capture, parse_mixer
from quatrain.specs import InputError, Term

SOURCE = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]])
TARGET = torch.tensor([[1, 5, 6], [1, 7, 8]])


def small(**choices):
    torch.manual_seed(0)
    spec = AttentionSpec(terms="1111", heads=2)
    mixers = {"encoder_self": spec, "decoder_self": spec, "cross": spec} | choices
    return TranslatorSpec(width=8, layers=2, feed_forward=12, **mixers).build(20).eval()


def test_every_attention_of_a_translator_is_seen_under_its_name():
    model = small()
    with capture(model) as seen:
        model(SOURCE, TARGET)
    kinds = [
        "encoder.{}.self_attention.mixer",
        "decoder.{}.self_attention.mixer",
        "decoder.{}.cross_attention.mixer",
    ]
    assert sorted(seen) == sorted(kind.format(layer) for kind in kinds for layer in (0, 1))
    assert seen["decoder.0.cross_attention.mixer"][0].weights.shape == (2, 2, 3, 4)


def test_what_is_seen_keeps_the_masks_of_the_call():
    model = small()
    with capture(model) as seen:
        model(SOURCE, TARGET)
    assert seen["encoder.0.self_attention.mixer"][0].weights[0, :, :, 3].abs().max() == 0
    assert seen["decoder.0.self_attention.mixer"][0].weights.triu(1).abs().max() == 0


def test_the_captured_terms_add_up_to_the_weights():
    model = small()
    with capture(model) as seen:
        model(SOURCE[1:], TARGET[1:])
    explained = seen["decoder.1.cross_attention.mixer"][0]
    assert list(explained.logits) == list(Term)
    assert_close(sum(explained.logits.values()).softmax(-1), explained.weights)


def test_each_call_is_kept_and_none_after_the_block():
    model = small(encoder_self=None)
    with capture(model) as seen:
        model(SOURCE, TARGET)
        model(SOURCE, TARGET)
    model(SOURCE, TARGET)
    assert {len(calls) for calls in seen.values()} == {2}
    assert not any(module._forward_hooks for module in model.modules())


def test_watching_changes_neither_output_nor_gradient():
    model = small()
    plain = model(SOURCE, TARGET)
    with capture(model) as seen:
        watched = model(SOURCE, TARGET)
    assert torch.equal(plain, watched)
    assert watched.requires_grad
    assert not seen["encoder.0.self_attention.mixer"][0].weights.requires_grad


def test_the_hooks_go_when_the_block_fails():
    model = small()
    with pytest.raises(ZeroDivisionError), capture(model):
        1 / 0  # noqa: B018
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_is_an_attention_is_called_by_the_empty_name():
    attention = AttentionSpec(terms="1000", heads=2).build(8)
    with capture(attention) as seen:
        attention(torch.randn(1, 8, 2, 3), method="fused")
    assert seen[""][0].weights.shape == (1, 2, 6, 6)


def attention():
    torch.manual_seed(0)
    return AttentionSpec(terms="1111", heads=2).build(8)


def images():
    return torch.randn(1, 8, 3, 4)


@pytest.mark.compile
@pytest.mark.parametrize("first", [False, True])
def test_a_compiled_model_is_seen_as_the_model_is(first):
    torch.compiler.reset()
    in_place = torch.nn.Sequential(attention())
    in_place.compile(backend="eager")
    part = torch.nn.Sequential(torch.compile(attention(), backend="eager"), torch.nn.ReLU())
    whole = torch.compile(torch.nn.Sequential(attention()), backend="eager")
    x = images()
    with capture(torch.nn.Sequential(attention())) as plain:
        torch.nn.Sequential(attention())(x)
    for model in (whole, part, in_place):
        if first:
            model(x)
        for _ in range(2):
            with capture(model) as seen:
                model(x)
            assert [len(calls) for calls in seen.values()] == [1]
        model(x)
        assert [len(calls) for calls in seen.values()] == [1]
        ((explained,),) = seen.values()
        assert explained.weights.shape == (1, 2, 12, 12)
    with capture(model) as seen:
        torch.compile(model, backend="eager")(x)
    assert [len(calls) for calls in seen.values()] == [1]
    assert not any(plain.values())


@pytest.mark.parametrize("wrapped", [torch.nn.DataParallel, torch.nn.Sequential])
def test_a_wrapped_model_is_seen(wrapped):
    model = wrapped(attention())
    with capture(model) as seen:
        model(images())
    assert [len(calls) for calls in seen.values()] == [1]


@pytest.mark.parametrize("mixer", ["regular", "dynamic", "deformable"])
def test_a_model_without_attention_has_nothing_to_see(mixer):
    model = torch.nn.Sequential(parse_mixer(mixer).build(16))
    with capture(model) as seen:
        model(torch.randn(1, 16, 3, 4))
    assert seen == {}


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, and warns of shapes
def test_a_script_a_trace_and_an_exported_model_are_refused():
    model = torch.nn.Sequential(attention())
    with unchecked():
        traced = torch.jit.trace(model, images())
        exported = torch.export.export(model, (images(),))
    graph = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    for compiled in (traced, exported.module(), torch.export.unflatten(exported), graph):
        for each in (compiled, torch.nn.Sequential(compiled)):
            with pytest.raises(InputError, match="capture the model that was"), capture(each):
                pass


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_layer_that_is_computed_again_in_the_backward_pass_is_seen_once(reentrant):
    model, x = attention(), images().requires_grad_()
    with capture(model) as seen:
        checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    assert len(seen[""]) == 1
    assert x.grad is not None


def test_the_hooks_go_when_an_attention_fails():
    model = attention()
    with pytest.raises(InputError), capture(model):
        model(torch.randn(1, 7, 3, 4))
    assert not model._forward_hooks
    with capture(model) as seen:
        model(images())
    assert len(seen[""]) == 1


@pytest.mark.parametrize("at", [(1, 2), lambda sizes: (sizes[0] - 3, sizes[1] - 3)])
def test_one_query_of_each_call_is_captured_by_its_position_or_by_a_function_of_the_sizes(at):
    model = attention()
    x = torch.randn(1, 8, 4, 5)
    with capture(model, at=at) as one, capture(model) as whole:
        model(x)
    weights = one[""][0].weights
    assert weights.shape == (1, 2, 1, 20)
    torch.testing.assert_close(weights, whole[""][0].weights[:, :, 7:8])
