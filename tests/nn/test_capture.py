import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from laws import unchecked
from quatrain.insertion import insert, replace
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttentionSpec, DeformableConv, capture, capture_offsets, parse_mixer
from quatrain.specs import InputError, Term

SOURCE = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]])
TARGET = torch.tensor([[1, 5, 6], [1, 7, 8]])


def small(**choices):
    torch.manual_seed(0)
    spec = AttentionSpec(terms="1111", heads=2)
    mixers = {"encoder_self": spec, "decoder_self": spec, "cross": spec} | choices
    return TranslatorSpec(width=8, layers=2, feed_forward=12, **mixers).build(20).eval()


def test_every_attention_of_a_translator_is_captured_under_its_name():
    model = small()
    with capture(model) as explanations:
        model(SOURCE, TARGET)
    kinds = [
        "encoder.{}.self_attention.mixer",
        "decoder.{}.self_attention.mixer",
        "decoder.{}.cross_attention.mixer",
    ]
    assert sorted(explanations) == sorted(kind.format(layer) for kind in kinds for layer in (0, 1))
    assert explanations["decoder.0.cross_attention.mixer"][0].weights.shape == (2, 2, 3, 4)


def test_captured_weights_respect_the_masks_of_the_call():
    model = small()
    with capture(model) as explanations:
        model(SOURCE, TARGET)
    assert explanations["encoder.0.self_attention.mixer"][0].weights[0, :, :, 3].abs().max() == 0
    assert explanations["decoder.0.self_attention.mixer"][0].weights.triu(1).abs().max() == 0


def test_the_captured_terms_add_up_to_the_weights():
    model = small()
    with capture(model) as explanations:
        model(SOURCE[1:], TARGET[1:])
    explained = explanations["decoder.1.cross_attention.mixer"][0]
    assert list(explained.logits) == list(Term)
    assert_close(sum(explained.logits.values()).softmax(-1), explained.weights)


def test_each_call_within_the_block_is_captured():
    model = small(encoder_self=None)
    with capture(model) as explanations:
        model(SOURCE, TARGET)
        model(SOURCE, TARGET)
    model(SOURCE, TARGET)
    assert {len(calls) for calls in explanations.values()} == {2}
    assert not any(module._forward_hooks for module in model.modules())


def test_capturing_changes_neither_output_nor_gradient():
    model = small()
    plain = model(SOURCE, TARGET)
    with capture(model) as explanations:
        captured = model(SOURCE, TARGET)
    assert torch.equal(plain, captured)
    assert captured.requires_grad
    assert not explanations["encoder.0.self_attention.mixer"][0].weights.requires_grad


def test_hooks_are_removed_after_an_error_in_the_block():
    model = small()
    with pytest.raises(ZeroDivisionError), capture(model):
        1 / 0  # noqa: B018
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_is_an_attention_has_the_empty_name():
    attention = AttentionSpec(terms="1000", heads=2).build(8)
    with capture(attention) as explanations:
        attention(torch.randn(1, 8, 2, 3), method="fused")
    assert explanations[""][0].weights.shape == (1, 2, 6, 6)


def attention():
    torch.manual_seed(0)
    return AttentionSpec(terms="1111", heads=2).build(8)


def images():
    return torch.randn(1, 8, 3, 4)


@pytest.mark.compile
@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["whole", "part", "in place"])
def test_a_compiled_model_is_captured_before_and_after_its_first_call(kind, warm):
    torch.compiler.reset()
    model = torch.nn.Sequential(attention())
    if kind == "whole":
        model = torch.compile(model, backend="eager")
    elif kind == "part":
        model = torch.nn.Sequential(torch.compile(attention(), backend="eager"), torch.nn.ReLU())
    else:
        model.compile(backend="eager")
    x = images()
    if warm:
        model(x)
    for _ in range(2):
        with capture(model) as explanations:
            model(x)
        assert [len(calls) for calls in explanations.values()] == [1]
    model(x)
    ((explanation,),) = explanations.values()
    assert explanation.weights.shape == (1, 2, 12, 12)


@pytest.mark.parametrize("wrapped", [torch.nn.DataParallel, torch.nn.Sequential])
def test_a_wrapped_model_is_captured(wrapped):
    model = wrapped(attention())
    with capture(model) as explanations:
        model(images())
    assert [len(calls) for calls in explanations.values()] == [1]


@pytest.mark.parametrize("mixer", ["regular", "dynamic", "deformable"])
def test_a_model_without_attention_gives_an_empty_dictionary(mixer):
    model = torch.nn.Sequential(parse_mixer(mixer).build(16))
    with capture(model) as explanations:
        model(torch.randn(1, 16, 3, 4))
    assert explanations == {}


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, and warns of shapes
def test_traced_exported_and_symbolic_models_are_refused():
    model = torch.nn.Sequential(attention())
    with unchecked():
        traced = torch.jit.trace(model, images())
        exported = torch.export.export(model, (images(),))
    graph = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    for compiled in (traced, exported.module(), torch.export.unflatten(exported), graph):
        for model in (compiled, torch.nn.Sequential(compiled)):
            with pytest.raises(InputError), capture(model):
                pass


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_is_captured_once(reentrant):
    model, x = attention(), images().requires_grad_()
    with capture(model) as explanations:
        checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    assert len(explanations[""]) == 1
    assert x.grad is not None


def test_hooks_are_removed_after_an_error_in_an_attention():
    model = attention()
    with pytest.raises(InputError), capture(model):
        model(torch.randn(1, 7, 3, 4))
    assert not model._forward_hooks
    with capture(model) as explanations:
        model(images())
    assert len(explanations[""]) == 1


@pytest.mark.parametrize("at", [(1, 2), lambda sizes: (sizes[0] - 3, sizes[1] - 3)])
def test_one_query_is_captured_by_its_position_or_by_a_function_of_the_sizes(at):
    model = attention()
    x = torch.randn(1, 8, 4, 5)
    with capture(model, query=at) as one, capture(model) as whole:
        model(x)
    weights = one[""][0].weights
    assert weights.shape == (1, 2, 1, 20)
    torch.testing.assert_close(weights, whole[""][0].weights[:, :, 7:8])


@pytest.mark.parametrize(
    ("at", "count"),
    [("decoder.*.cross_attention", 2), ("decoder.0", 2), ("**.mixer", 6), ("*coder.1", 3)],
)
def test_only_attention_at_a_pattern_is_captured(at, count):
    model = small()
    with capture(model, at=at) as explanations:
        model(SOURCE, TARGET)
    assert len(explanations) == count
    assert all(len(calls) == 1 for calls in explanations.values())


@pytest.mark.parametrize(
    ("observe", "at", "message"),
    [
        (capture, "decoder.0.cros_attention", "use .*decoder.0.cross_attention"),
        (capture, "decoder.0.feed_forward*", "matches no attention; use decoder.0.*mixer"),
        (capture_offsets, "decoder.0", "no deformable mixer; the model has none"),
    ],
)
def test_a_pattern_that_matches_nothing_names_the_nearest(observe, at, message):
    with pytest.raises(InputError, match=message), observe(small(), at=at):
        pass


def test_coordinates_in_the_place_of_a_pattern_are_refused():
    with (
        unchecked(),
        pytest.raises(InputError, match="is not a pattern of module names"),
        capture(small(), at=(1, 2)),
    ):
        pass


def test_a_pattern_on_a_model_without_attention_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="the model has none"), capture(model, at="0"):
        pass


def test_an_inserted_mixer_is_captured_at_its_place():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 2, stride=2), torch.nn.ReLU())
    x = torch.randn(1, 3, 6, 10)
    insert(model, AttentionSpec(terms="0110", heads=2), after="0", example=x)
    with capture(model, at="0") as explanations:
        model(x)
    [[explanation]] = explanations.values()
    assert explanation.grid.queries == (3, 5)
    assert explanation.query is None


def test_offsets_of_each_call_of_each_deformable_convolution_are_captured():
    torch.manual_seed(0)
    plain = [torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)]
    model = torch.nn.Sequential(*plain, parse_mixer("0010+deformable").build(8, ndim=2))
    replace(model, parse_mixer("modulated"), at="1")
    x = images()
    with capture_offsets(model) as calls:
        output = model(x)
        model(x)
    assert torch.equal(output, model(x))
    assert [len(each) for each in calls.values()] == [2, 2]
    sampling = [each[0] for each in calls.values()]
    assert [each.modulation is None for each in sampling] == [False, True]
    assert all(each.offset.shape == (1, 12, 1, 9, 2) for each in sampling)
    assert not any(each.offset.requires_grad for each in sampling)
    assert not any(module._forward_hooks for module in model.modules())
    with capture_offsets(model, at="2") as one:
        model(x)
    assert list(one) == ["2.convolution"]


@pytest.mark.compile
def test_offsets_of_a_compiled_convolution_are_captured():
    torch.compiler.reset()
    model = torch.compile(torch.nn.Sequential(DeformableConv(8)), backend="eager")
    with capture_offsets(model) as calls:
        model(images())
    assert [len(each) for each in calls.values()] == [1]
