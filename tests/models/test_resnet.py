import pytest
import torch
import torchvision

from quatrain.insertion import InsertionWrapper
from quatrain.models.resnet import DEVIATION, MEAN, ResNetSpec, normalize_images
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError, identity


def built(**fields):
    torch.manual_seed(0)
    return ResNetSpec(**fields).build().eval()


def images(height=65, width=97):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("depth", "output_stride"), [(18, 4), (18, 32), (50, 8), (50, 16)])
@pytest.mark.parametrize("text", ["1111", "dynamic@7"])
def test_with_an_inserted_mixer_it_starts_as_the_plain_network_bit_for_bit(
    depth, output_stride, text
):
    shape = {"depth": depth, "width": 16, "output_stride": output_stride}
    plain, mixed = built(**shape), built(**shape, mixer=parse_mixer(text))
    with torch.no_grad():
        expected, maps = plain(images()), mixed(images())
    assert list(maps) == ["conv2", "conv3", "conv4", "conv5"]
    for name, value in maps.items():
        assert torch.equal(value, expected[name])
        assert value.shape[1] == mixed.channels[name]
    assert -(-65 // output_stride) == maps["conv5"].shape[2]


@pytest.mark.parametrize("depth", [18, 50])
def test_deformable_convolutions_keep_the_weights_that_they_replace(depth):
    plain = built(depth=depth, width=16)
    deformable = built(depth=depth, width=16, mixer=parse_mixer("0010+deformable"))
    with torch.no_grad():
        torch.testing.assert_close(deformable(images()), plain(images()), rtol=1e-3, atol=1e-3)


def test_mixers_are_in_the_chosen_stages_of_all_blocks():
    def places(kind, **fields):
        network = built(width=16, **fields)
        return [name.split(".")[1] for name, m in network.named_modules() if isinstance(m, kind)]

    both = {
        "mixer": parse_mixer("0010+deformable"),
        "inserted_stages": (5,),
        "replaced_stages": (3, 4),
    }
    assert places(InsertionWrapper, **both) == ["layer4"] * 3
    assert places(DeformableConv, **both) == ["layer2"] * 4 + ["layer3"] * 6
    default = places(InsertionWrapper, mixer=parse_mixer("1111"))
    assert default == ["layer3"] * 6 + ["layer4"] * 3


@pytest.mark.parametrize("depth", [18, 50])
def test_plain_weights_and_the_random_stream_do_not_depend_on_the_mixer(depth):
    states, numbers = {}, {}
    for text in ("w/o", "0010", "1111", "w/o+deformable", "0010+deformable", "dynamic@3"):
        network = built(depth=depth, width=16, mixer=parse_mixer(text))
        states[text] = {
            name.replace(".original.", ".").replace(".conv2.block.", ".conv2."): value
            for name, value in network.state_dict().items()
        }
        numbers[text] = float(torch.rand(()))
    assert len(set(numbers.values())) == 1
    for state in states.values():
        assert all(torch.equal(state[name], value) for name, value in states["w/o"].items())
    attention, combined = states["0010"], states["0010+deformable"]
    assert all(torch.equal(combined[name], value) for name, value in attention.items())


def test_weights_of_a_mixer_do_not_depend_on_other_mixers():
    fields = {"depth": 18, "width": 16, "mixer": parse_mixer("1111")}
    both, last = built(**fields), built(**fields, inserted_stages=(5,))
    expected = last.body.layer4.state_dict()
    torch.testing.assert_close(both.body.layer4.state_dict(), expected, rtol=0, atol=0)


def test_the_hash_of_a_file_is_in_the_identity_and_its_path_is_not():
    def identity_of(content, path):
        return identity(ResNetSpec(weights=content, weights_file=path), seed=0)

    assert identity_of("a" * 64, "/here/r50.pt") == identity_of("a" * 64, "/there/resnet.pt")
    assert identity_of("a" * 64, "/here/r50.pt") != identity_of("b" * 64, "/here/r50.pt")
    assert identity_of("IMAGENET1K_V1", None) == identity_of("IMAGENET1K_V1", "/here/r50.pt")


def test_frozen_stages_are_not_trained_and_keep_their_statistics():
    model = built(depth=18, width=16, frozen_stages=2).train()
    before = model.body.bn1.running_mean.clone(), model.body.layer2[0].bn1.running_mean.clone()
    model(images())
    assert torch.equal(model.body.bn1.running_mean, before[0])
    assert not torch.equal(model.body.layer2[0].bn1.running_mean, before[1])
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}


def test_norm_eval_trains_scales_and_shifts_and_keeps_statistics():
    model = built(depth=18, width=16, norm="eval").train()
    before = {name: each.clone() for name, each in model.named_buffers()}
    model(images())["conv5"].sum().backward()
    assert all(torch.equal(each, before[name]) for name, each in model.named_buffers())
    assert model.body.layer4[1].bn2.weight.grad.any()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"inserted_stages": (1,)}, "inserted_stages"),
        ({"inserted_stages": (4, 4)}, "inserted_stages"),
        ({"mixer": parse_mixer("0010"), "frozen_stages": 4}, "frozen_stages"),
        ({"mixer": parse_mixer("deformable"), "frozen_stages": 3}, "frozen_stages"),
        ({"replaced_stages": (6,)}, "replaced_stages"),
        ({"norm": "group", "weights": "IMAGENET1K_V1"}, "norm"),
        ({"width": 32, "weights": "IMAGENET1K_V1"}, "width"),
        ({"width": 20}, "ResNetSpec.width"),
        ({"weights_file": "r50.pt"}, "weights"),
    ],
)
def test_fields_in_conflict_are_refused(fields, field):
    with pytest.raises(SpecError) as caught:
        ResNetSpec(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize("depth", [18, 50])
def test_at_full_width_its_weights_are_torchvisions(depth):
    ours = built(depth=depth).body.state_dict()
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    assert theirs.keys() - ours.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (50, 4)])
def test_the_width_scales_every_stage(depth, expansion):
    model = built(depth=depth, width=16, mixer=parse_mixer("0010+deformable"))
    channels = {name: value.shape[1] for name, value in model(images()).items()}
    assert channels == model.channels
    assert list(channels.values()) == [expansion * 16 * factor for factor in (1, 2, 4, 8)]
    assert model.body.layer1[0].conv2.out_channels == 16


@pytest.mark.parametrize(
    ("stride", "dilations"),
    [(32, [1, 1, 1, 1]), (16, [1, 1, 1, 2]), (8, [1, 1, 2, 4]), (4, [1, 2, 4, 8])],
)
def test_stages_beyond_the_output_stride_are_dilated(stride, dilations):
    model = built(depth=18, width=16, output_stride=stride)
    body = model.body
    stages = (body.layer1, body.layer2, body.layer3, body.layer4)
    assert [stage[0].conv1.dilation[0] for stage in stages] == dilations
    assert [stage[1].conv2.padding[0] for stage in stages] == dilations
    sizes = [tuple(value.shape[2:]) for value in model(images(64, 96)).values()]
    steps = [min(natural, stride) for natural in (4, 8, 16, 32)]
    assert sizes == [(64 // step, 96 // step) for step in steps]


@pytest.mark.parametrize("width", [48, 64])
def test_norm_group_has_no_batch_statistics(width):
    model = built(depth=18, width=width, norm="group").train()
    assert not any("running_mean" in name for name, _ in model.named_buffers())
    assert model(images())["conv5"].isfinite().all()


def test_each_channel_is_normalized_by_its_own_statistics():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 4, 5)
    normalized = normalize_images(images)
    assert normalized.dtype == torch.float32
    expected = [(x / 255 - m) / d for x, m, d in zip((0, 128, 255), MEAN, DEVIATION, strict=True)]
    assert normalized[1, :, 3, 4].tolist() == pytest.approx(expected, abs=1e-6)


def test_images_are_normalized_on_the_device_of_the_images():
    normalized = normalize_images(torch.empty(1, 3, 4, 5, dtype=torch.uint8, device="meta"))
    assert (normalized.device.type, normalized.shape) == ("meta", (1, 3, 4, 5))
