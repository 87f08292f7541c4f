import inspect
import pickle

import pytest
import torch

from laws import unchecked
from quatrain.nn import (
    Attended,
    AttentionSpec,
    DeformableConv,
    DeformableConvSpec,
    DynamicConv,
    GeneralizedAttention,
    LightweightConv,
    RegularConv,
    RegularConvSpec,
)
from quatrain.specs import SpecError, Term

MODULES = [
    (GeneralizedAttention, {"terms": "0110", "heads": 2, "window": 3}),
    (RegularConv, {"kernel": 5}),
    (DeformableConv, {"modulated": True, "offset_groups": 2}),
    (DynamicConv, {"groups": 4}),
    (LightweightConv, {"groups": 4}),
    (Attended, {"attention": AttentionSpec(terms="0010"), "gated": True}),
]
every_module = pytest.mark.parametrize(("kind", "fields"), MODULES, ids=lambda each: str(each)[:9])


def seeded(create):
    torch.manual_seed(0)
    return create()


@every_module
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_constructor_builds_the_same_module_as_its_spec(kind, fields, ndim):
    spec = kind.spec_class(**fields)
    built = seeded(lambda: spec.build(16, ndim))
    for module in (
        seeded(lambda: kind(16, ndim=ndim, **fields)),
        seeded(lambda: kind(16, ndim=ndim, spec=spec)),
    ):
        assert type(module) is type(built)
        assert module.spec == spec
        torch.testing.assert_close(module.state_dict(), built.state_dict(), rtol=0, atol=0)


@every_module
def test_device_and_dtype_do_not_change_the_initial_weights(kind, fields):
    expected = seeded(lambda: kind(16, **fields)).double().state_dict()
    module = seeded(lambda: kind(16, device="cpu", dtype=torch.float64, **fields))
    torch.testing.assert_close(module.state_dict(), expected, rtol=0, atol=0)
    on_meta = kind.spec_class(**fields).build(16, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in on_meta.parameters()} == {("meta", torch.bfloat16)}


@every_module
def test_the_signature_lists_the_fields_of_the_spec_with_their_defaults(kind, fields):
    parameters = inspect.signature(kind).parameters
    arguments = {"channels", "ndim", "key_channels", "spec", "device", "dtype"}
    defaults = {name: each.get_default() for name, each in kind.spec_class.model_fields.items()}
    defaults.pop("kind")
    assert parameters.keys() == arguments | defaults.keys()
    assert {name: parameters[name].default for name in defaults} == defaults
    assert inspect.signature(kind(16, **fields)) == inspect.signature(torch.nn.ReLU())


class ContentOnly(GeneralizedAttention):
    def __init__(self, channels, name="", **fields):
        super().__init__(channels, terms="1010", **fields)
        self.name = name


def test_a_subclass_has_the_signature_of_its_own_constructor():
    assert list(inspect.signature(ContentOnly).parameters) == ["channels", "name", "fields"]
    assert ContentOnly(16, heads=4).spec == AttentionSpec(terms="1010", heads=4)


def test_a_spec_builds_one_class():
    with pytest.raises(TypeError, match="AttentionSpec builds GeneralizedAttention"):

        class Second(GeneralizedAttention, spec=AttentionSpec):
            pass

    class OwnSpec(AttentionSpec):
        pass

    class Own(GeneralizedAttention, spec=OwnSpec):
        pass

    assert type(OwnSpec().build(16)) is Own
    assert type(AttentionSpec().build(16)) is GeneralizedAttention


@every_module
def test_a_pickled_module_keeps_its_spec(kind, fields):
    module = kind(16, **fields)
    assert pickle.loads(pickle.dumps(module)).spec == module.spec


@pytest.mark.parametrize("terms", ["0110", Term.QUERY_POSITION | Term.KEY])
def test_terms_are_a_text_or_a_flag(terms):
    assert str(GeneralizedAttention(16, terms=terms).spec.terms) == "0110"


def test_an_unknown_hyper_parameter_is_refused_with_the_closest_name():
    with pytest.raises(SpecError) as caught:
        GeneralizedAttention(16, head=4)
    assert caught.value.field == "AttentionSpec.head"
    assert "did you mean heads?" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"spec": RegularConvSpec()}, "spec"),
        ({"spec": AttentionSpec(), "heads": 4}, "spec"),
        ({"ndim": 3}, "ndim"),
        ({"key_channels": 0}, "key_channels"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, field):
    with unchecked(), pytest.raises(SpecError) as caught:
        GeneralizedAttention(16, **arguments)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            GeneralizedAttention(16, terms="0110", heads=2, window=5, key_stride=2, key_channels=8),
            "16, ndim=2, key_channels=8, terms=0110, heads=2, window=5, key_stride=2",
        ),
        (
            DeformableConvSpec(modulated=True).build(8, ndim=1),
            "8, ndim=1, kernel=3, stride=1, dilation=1, groups=1, offset_groups=1, modulated=True",
        ),
        (
            RegularConv(8, stride=2),
            "8, ndim=2, kernel=3, stride=2, dilation=1, groups=1",
        ),
        (DynamicConv(16, kernel=5), "16, ndim=2, kernel=5, groups=16"),
        (LightweightConv(8, groups=4), "8, ndim=2, kernel=3, groups=4"),
        (Attended(16, gated=True), "16, ndim=2, gated=True"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_repr_shows_channels_axes_and_hyper_parameters(module, text):
    assert module.extra_repr() == text
    assert text in repr(module)
