import copy
import io
import warnings

import pytest
import torch
from torch import nn

from quatrain.insertion import InsertionWrapper, ReplacementWrapper, insert, remove, replace
from quatrain.insertion.shapes import ActivationShape
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError

PLACES = [
    {"after": "layers.*.linear1"},
    {"after": "layers.1.norm1"},
    {"before": "layers.0.self_attn"},
    {"after": "layers.0.self_attn"},
    {"after": "layers.0"},
    {"before": "layers.1"},
]


def encoder(nested=False):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).eval()


def tokens():
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))


class Recurrent(nn.Module):
    """A layer that returns a tuple, of which all values are used."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(16, 16, batch_first=True)

    def forward(self, x):
        y, state = self.layer(x)
        return y if state is None else y + state[0][:, None]


def test_first_value_of_a_tuple_is_read_and_replaced():
    torch.manual_seed(0)
    model, x = Recurrent().eval(), tokens()
    expected, (y, state) = model(x), model.layer(x)
    surgery = insert(model, parse_mixer("0011"), after="layer", example=x)
    assert torch.equal(model(x), expected)
    block = surgery.wrappers["layer"].block
    nn.init.ones_(block.gamma)
    for each in (model, copy.deepcopy(model)):
        torch.testing.assert_close(each(x), block(y) + state[0][:, None])
    surgery.remove()
    surgery = replace(model, parse_mixer("0011"), at="layer", example=x)
    output, other = model.layer(x)
    assert other is None
    torch.testing.assert_close(output, surgery.wrappers["layer"].block(x))
    torch.testing.assert_close(model(x), output)


@pytest.mark.parametrize("gradients", [False, True])  # False: torch fuses a layer
@pytest.mark.parametrize("place", PLACES)
def test_transformer_encoder_applies_the_mixer_in_both_paths(place, gradients):
    model, x = encoder(), tokens()
    with torch.set_grad_enabled(gradients):
        plain = model(x)
        surgery = insert(model, parse_mixer("1111"), **place, example=x)
        torch.testing.assert_close(model(x), plain)
        for each in surgery.wrappers.values():
            nn.init.ones_(each.block.gamma)
        changed = model(x)
        assert not torch.allclose(changed, plain)
    torch.testing.assert_close(changed, model.train()(x))  # which has no fused path
    surgery.remove()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), plain)


@pytest.mark.parametrize("gradients", [False, True])
def test_transformer_encoder_calls_the_replacement_of_a_part(gradients):
    model, x = encoder(), tokens()
    replace(model, parse_mixer("0110"), at="layers.0.norm1", example=x)
    assert (model.layers[0].norm1.eps, model.layers[0].norm1.channels) == (1e-5, 16)
    assert not hasattr(model.layers[0].norm1, "weight")
    called = []
    model.layers[0].norm1.block.register_forward_hook(lambda *_: called.append(1))
    with torch.set_grad_enabled(gradients):
        model(x)
    assert called == [1]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_raise():
    model, x = encoder(nested=True), tokens()
    insert(model, parse_mixer("1111"), after="layers.*.linear2", example=x)
    padding = torch.arange(5).expand(2, 5) >= torch.tensor([[5], [3]])
    with torch.no_grad(), pytest.raises(InputError) as caught:
        model(x, src_key_padding_mask=padding)
    assert caught.value.field == "input"
    assert "nested tensor" in str(caught.value)
    model(x)
    model.use_nested_tensor = False
    with torch.no_grad():
        assert model(x, src_key_padding_mask=padding).shape == x.shape


def test_only_parts_of_encoder_layers_get_a_hook():
    model = nn.Sequential(encoder(), nn.Linear(16, 16))
    for place in ("0.layers.*.linear2", "0.layers.1", "1"):
        insert(model, parse_mixer("0010"), after=place, example=tokens())
    hooked = [name for name, part in model.named_modules() if part._forward_pre_hooks]
    assert hooked == ["0.layers.0.linear2", "0.layers.1.original.linear2"]


class Place(nn.Linear):
    def __init__(self, block=False):
        super().__init__(4, 4)
        self.activation = torch.relu
        self.child = nn.Identity()
        if block:
            self.block = nn.Linear(4, 4)

    def features(self, x):
        return self(x)


def inserted(**settings):
    torch.manual_seed(0)
    mixer = parse_mixer("0010", heads=2).build(4, ndim=1)
    return InsertionWrapper(
        Place(**settings), GatedResidual(mixer), "after", ActivationShape(4, 1, "channels_last")
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (2, 2))]
)
def test_convolution_uses_settings_set_after_the_insertion(setting, value):
    torch.manual_seed(0)
    model, plain = (nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1)) for _ in range(2))
    insert(model, parse_mixer("0010"), after="0", example=torch.randn(1, 8, 9, 9))
    for each in (model, plain):
        setattr(each[0], setting, value)
    x = torch.randn(1, 8, 9, 9)
    assert model(x).shape == plain(x).shape


def test_setting_that_the_mixer_does_not_read_is_set_on_the_replaced_module():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    replace(model, parse_mixer("0010+deformable"), at="0")
    convolution = model[0].block.convolution
    with pytest.warns(UserWarning, match="stride"):
        model[0].stride = (2, 2)
    assert model[0].stride == (2, 2)
    assert model(torch.ones(1, 8, 4, 4)).shape == (1, 8, 4, 4)
    model[0].weight = weight = nn.Parameter(torch.zeros(8, 8, 3, 3))
    assert convolution.weight is weight is model[0].weight
    model[0].note = 1
    assert model[0].note == 1
    remove(model)
    assert model[0].weight is weight
    assert model[0].stride == (2, 2)
    assert model(torch.ones(1, 8, 4, 4)).shape == (1, 8, 2, 2)


class Checkpointed(nn.Linear):
    gradient_checkpointing = False


@pytest.mark.parametrize("how", ["insert", "replace"])
def test_attribute_set_on_all_modules_reaches_wrapped_modules(how):
    model, x = nn.Sequential(*(Checkpointed(16, 16) for _ in range(3))), torch.randn(2, 5, 16)
    if how == "insert":
        insert(model, parse_mixer("0010"), after="*", example=x, layout="channels_last")
    else:
        replace(model, parse_mixer("0010"), at="*", example=x, layout="channels_last")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for part in model.modules():
            if hasattr(part, "gradient_checkpointing"):
                part.gradient_checkpointing = True
    assert len(caught) == (how == "replace")
    assert all(part.gradient_checkpointing for part in model)
    remove(model)
    assert all(type(part) is Checkpointed and part.gradient_checkpointing for part in model)


def images():
    return torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))


CONVERSIONS = [
    lambda model: model.double(),
    lambda model: model.half(),
    lambda model: model.to(torch.bfloat16),
    lambda model: model.to("meta"),
    lambda model: model.to("meta").to_empty(device="cpu"),
]
REPLACING = ["0010+regular", "0010"]


@pytest.mark.parametrize("convert", CONVERSIONS)
@pytest.mark.parametrize("text", REPLACING)
def test_restored_modules_have_the_current_dtype_and_device(convert, text):
    def network():
        parts = (nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        return nn.Sequential(*parts).eval()

    model, plain = network(), convert(network())
    replace(model, parse_mixer(text, heads=2), at="1", example=images())
    insert(model, parse_mixer("0010", heads=2), after="1", example=images())
    replace(model, parse_mixer("0110", heads=2), at="2", example=images())
    convert(model)
    remove(model)
    kinds = [
        {name: (value.dtype, value.device) for name, value in each.state_dict().items()}
        for each in (model, plain)
    ]
    assert kinds[0] == kinds[1]


def test_wrapper_is_copied_and_saved_as_any_module():
    wrapper, x = inserted(), torch.ones(2, 3, 4)
    file = io.BytesIO()
    torch.save(wrapper, file)
    file.seek(0)
    for other in (
        copy.deepcopy(wrapper),
        copy.copy(wrapper),
        torch.load(file, weights_only=False),
    ):
        assert isinstance(other, InsertionWrapper)
        torch.testing.assert_close(other(x), wrapper(x))
    other = copy.deepcopy(wrapper)
    assert other.weight is not wrapper.weight
    assert list(other.state_dict()) == list(wrapper.state_dict())
    assert [name for name in wrapper.state_dict() if name.endswith("l.weight")] == [
        "original.weight"
    ]


def test_copied_replacement_shares_weights_with_its_own_original():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    replace(model, DeformableConvSpec(), at="0")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].block.weight.zero_()
    assert isinstance(other[0], ReplacementWrapper)
    remove(other)
    remove(model)
    assert not other[0].weight.any()
    assert model[0].weight.any()


@pytest.mark.parametrize("block", [False, True])
def test_weights_load_where_the_wrapped_module_has_a_part_named_block(block):
    torch.manual_seed(1)
    plain = Place(block)
    wrapper = inserted(block=block)
    current = wrapper.block.mixer.value.weight.clone()
    wrapper.load_state_dict(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(wrapper.original.state_dict()[name], value)
    assert torch.equal(wrapper.block.mixer.value.weight, current)


def test_weights_saved_before_and_after_a_replacement_load():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    plain = {name: value + 1 for name, value in model.state_dict().items()}
    replace(model, DeformableConvSpec(), at="0")
    current = copy.deepcopy(model.state_dict())
    model.load_state_dict(plain)
    assert torch.equal(model[0].weight, plain["0.weight"])
    assert torch.equal(model[0].bias, plain["0.bias"])
    model.load_state_dict(current)
    torch.testing.assert_close(model.state_dict(), current, rtol=0, atol=0)
    del current["0.block.offset.bias"]
    with pytest.raises(RuntimeError, match=r"Missing.*0\.block\.offset\.bias"):
        model.load_state_dict(current)


def test_replaced_module_has_no_parameters_in_the_model_and_returns_in_its_mode():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    place = model[0]
    x = torch.randn(2, 5, 8)
    replace(model, parse_mixer("0010"), at="*", example=x)
    assert not any(p is place.weight for p in model.parameters())
    model.eval()
    remove(model)
    assert model[0] is place
    assert not place.training
    assert not model[1].training


def test_attributes_of_the_wrapped_module_are_read_except_methods():
    wrapper = inserted()
    place = wrapper.original
    assert wrapper.weight is place.weight
    assert (wrapper.in_features, wrapper.child) == (4, place.child)
    assert wrapper.activation is torch.relu
    for missing in ("features", "nothing", "__len__"):
        assert not hasattr(wrapper, missing)
    with pytest.raises(AttributeError, match="features"):
        wrapper.features(torch.ones(2, 3, 4))
    with pytest.raises(AttributeError, match="weight"):
        InsertionWrapper.__new__(InsertionWrapper).weight  # noqa: B018 - before it is initialised


def test_attributes_are_set_and_deleted_on_the_wrapped_module():
    wrapper = inserted()
    place = wrapper.original
    weight = nn.Parameter(torch.zeros(4, 4))
    wrapper.in_features, wrapper.weight, wrapper.activation = 5, weight, torch.sigmoid
    wrapper.child, wrapper.note = nn.ReLU(), "new"
    assert (place.in_features, place.weight, place.activation) == (5, weight, torch.sigmoid)
    assert isinstance(place.child, nn.ReLU)
    assert (wrapper.note, place.note) == ("new", "new")
    del wrapper.note, wrapper.activation
    assert not hasattr(place, "note")
    assert not hasattr(wrapper, "activation")
    wrapper.eval()
    wrapper.block = block = nn.Identity()
    assert (wrapper.training, place.training, wrapper.block) == (False, False, block)
    assert not hasattr(place, "block")
    assert {"in_features", "weight", "child", "block", "placement"} <= set(dir(wrapper))
    assert not {"features", "nothing"} & set(dir(wrapper))


CONTAINERS = [
    lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()),
    lambda: Listed([nn.Conv2d(3, 4, 1), nn.ReLU()]),
    lambda: Keyed({"a": nn.Conv2d(3, 4, 1), "b": nn.ReLU()}),
]


class Listed(nn.ModuleList):
    def forward(self, x):
        for each in self:
            x = each(x)
        return x


class Keyed(nn.ModuleDict):
    def forward(self, x):
        for each in self.values():
            x = each(x)
        return x


@pytest.mark.parametrize("build", CONTAINERS)
@pytest.mark.parametrize("times", [1, 2])
def test_container_is_used_through_its_wrapper(build, times):
    model, x = nn.Sequential(build()), torch.randn(2, 3, 5, 6)
    for _ in range(times):
        insert(model, parse_mixer("0010", heads=2), after="0", example=x)
    plain, wrapper = build(), model[0]
    keys = list(plain.keys()) if isinstance(plain, Keyed) else list(range(len(plain)))
    assert [type(wrapper[key]) for key in keys] == [type(plain[key]) for key in keys]
    assert len(wrapper) == 2
    assert [type(each) for each in wrapper] == [type(each) for each in plain]
    assert (keys[0] in wrapper) is (keys[0] in plain)
    wrapper[keys[1]] = added = nn.Sigmoid()
    assert wrapper[keys[1]] is added
    before = model(x)
    assert bool((before >= 0).all())
    if isinstance(plain, Keyed):
        wrapper.update({"c": nn.ReLU()})
        assert list(wrapper.keys()) == ["a", "b", "c"]
        del wrapper["c"]
        assert [type(each) for each in wrapper.values()] == [nn.Conv2d, nn.Sigmoid]
    else:
        assert wrapper.append(nn.ReLU()) is wrapper or times == 2
        assert len(wrapper) == 3
        assert isinstance(wrapper[-1], nn.ReLU)
        assert len(wrapper[:2]) == 2
        del wrapper[-1]
    torch.testing.assert_close(model(x), before)
    assert type(copy.deepcopy(wrapper)[keys[0]]) is nn.Conv2d
    remove(model)
    assert type(model[0]) is type(plain)


def test_other_modules_are_no_container_behind_their_wrapper():
    wrapper = inserted()
    assert bool(wrapper)
    for use in (len, iter, lambda each: each[0], lambda each: 0 in each):
        with pytest.raises(TypeError):
            use(wrapper)
