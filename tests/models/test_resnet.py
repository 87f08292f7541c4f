import pytest
import torch
import torchvision

from quatrain.insertion import InsertionWrapper
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError, identity


def built(**settings):
    torch.manual_seed(0)
    return ResNetSpec(**settings).build().eval()


def images(height=65, width=97):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
@pytest.mark.parametrize("text", ["1111", "dynamic@7"])
def test_the_attended_network_starts_as_the_plain_one_bit_for_bit(depth, output_stride, text):
    shape = {"depth": depth, "output_stride": output_stride}
    plain, attended = built(**shape), built(**shape, mixer=parse_mixer(text))
    with torch.no_grad():
        expected, found = plain(images()), attended(images())
    assert list(found) == ["conv2", "conv3", "conv4", "conv5"]
    for name, value in found.items():
        assert torch.equal(value, expected[name])
        assert value.shape[1] == attended.channels[name]
    assert -(-65 // output_stride) == found["conv5"].shape[2]


@pytest.mark.parametrize("depth", [18, 50])
def test_deformable_convolutions_keep_the_weights_they_replace(depth):
    plain, deformable = built(depth=depth), built(depth=depth, mixer=parse_mixer("0010+deformable"))
    with torch.no_grad():
        torch.testing.assert_close(deformable(images()), plain(images()), rtol=1e-3, atol=1e-3)


def test_mixers_stand_in_the_chosen_stages_of_all_blocks():
    spec = {
        "mixer": parse_mixer("0010+deformable"),
        "inserted_stages": (5,),
        "replaced_stages": (3, 4),
    }
    names = {
        kind: {
            name.split(".")[1] for name, m in built(**spec).named_modules() if isinstance(m, kind)
        }
        for kind in (InsertionWrapper, DeformableConv)
    }
    assert names == {InsertionWrapper: {"layer4"}, DeformableConv: {"layer2", "layer3"}}
    found = [
        m for m in built(mixer=parse_mixer("1111")).modules() if isinstance(m, InsertionWrapper)
    ]
    assert [m.block.mixer.channels for m in found] == [256] * 6 + [512] * 3


@pytest.mark.parametrize("depth", [18, 50])
def test_under_one_seed_all_networks_share_their_plain_weights_and_the_random_stream(depth):
    found = {}
    for text in ("w/o", "0010", "1111", "w/o+deformable", "0010+deformable", "dynamic@3"):
        network = built(depth=depth, mixer=parse_mixer(text))
        found[text] = (
            {
                name.replace(".original.", ".").replace(".conv2.block.", ".conv2."): value
                for name, value in network.state_dict().items()
            },
            torch.rand(()),
        )
    plain, drawn = found.pop("w/o")
    for weights, drawn_after in found.values():
        assert torch.equal(drawn_after, drawn)
        for name, value in plain.items():
            assert torch.equal(weights[name], value), name
    attended, both = found["0010"][0], found["0010+deformable"][0]
    assert all(torch.equal(both[name], value) for name, value in attended.items())


def test_the_weights_of_a_mixer_do_not_depend_on_the_others():
    settings = {"depth": 18, "mixer": parse_mixer("1111")}
    both, late = built(**settings), built(**settings, inserted_stages=(5,))
    expected = late.body.layer4.state_dict()
    torch.testing.assert_close(both.body.layer4.state_dict(), expected, rtol=0, atol=0)


def test_where_a_file_lies_is_not_in_the_identity_and_what_it_holds_is():
    def named(content, path):
        return identity(ResNetSpec(weights=content, weights_file=path), seed=0)

    assert named("a" * 64, "/here/r50.pt") == named("a" * 64, "/there/resnet.pt")
    assert named("a" * 64, "/here/r50.pt") != named("b" * 64, "/here/r50.pt")
    assert named("IMAGENET1K_V1", None) == named("IMAGENET1K_V1", "/here/r50.pt")


def test_what_is_frozen_does_not_learn_and_keeps_its_statistics():
    model = built(depth=18, frozen_stages=2).train()
    before = model.body.bn1.running_mean.clone(), model.body.layer2[0].bn1.running_mean.clone()
    model(images())
    assert torch.equal(model.body.bn1.running_mean, before[0])
    assert not torch.equal(model.body.layer2[0].bn1.running_mean, before[1])
    learning = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"layer2", "layer3", "layer4"}


def test_normalized_by_the_statistics_it_has_it_learns_factors_and_shifts_alone():
    model = built(depth=18, norm="eval").train()
    before = {name: each.clone() for name, each in model.named_buffers()}
    model(images())["conv5"].sum().backward()
    assert all(torch.equal(each, before[name]) for name, each in model.named_buffers())
    assert model.body.layer4[1].bn2.weight.grad.any()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"inserted_stages": (1,)}, "inserted_stages"),
        ({"inserted_stages": (4, 4)}, "inserted_stages is .*each stage once"),
        ({"mixer": parse_mixer("0010"), "frozen_stages": 4}, "a mixer in conv4.*less than 4"),
        ({"mixer": parse_mixer("deformable"), "frozen_stages": 3}, "a mixer in conv3"),
        ({"replaced_stages": (6,)}, "replaced_stages"),
        ({"norm": "group", "weights": "IMAGENET1K_V1"}, "norm"),
        ({"width": 32, "weights": "IMAGENET1K_V1"}, "width"),
        ({"width": 20}, "width"),
        ({"weights_file": "r50.pt"}, "weights is None.*sha256sum"),
    ],
)
def test_contradictions_are_refused(settings, field):
    with pytest.raises(SpecError, match=field):
        ResNetSpec(**settings)


@pytest.mark.parametrize("depth", [18, 50])
def test_at_full_width_it_is_torchvisions_network_weight_for_weight(depth):
    ours = built(depth=depth).body.state_dict()
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    assert theirs.keys() - ours.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (50, 4)])
def test_a_narrow_network_is_narrow_in_every_stage(depth, expansion):
    model = built(depth=depth, width=16, mixer=parse_mixer("0010+deformable"))
    found = {name: value.shape[1] for name, value in model(images()).items()}
    assert found == model.channels
    assert list(found.values()) == [expansion * 16 * factor for factor in (1, 2, 4, 8)]
    assert model.body.layer1[0].conv2.out_channels == 16


@pytest.mark.parametrize(
    ("stride", "dilations"),
    [(32, [1, 1, 1, 1]), (16, [1, 1, 1, 2]), (8, [1, 1, 2, 4]), (4, [1, 2, 4, 8])],
)
def test_stages_that_would_be_coarser_than_the_output_are_dilated(stride, dilations):
    model = built(depth=18, output_stride=stride)
    body = model.body
    stages = (body.layer1, body.layer2, body.layer3, body.layer4)
    assert [stage[0].conv1.dilation[0] for stage in stages] == dilations
    assert [stage[1].conv2.padding[0] for stage in stages] == dilations
    sizes = [tuple(value.shape[2:]) for value in model(images(64, 96)).values()]
    steps = [min(natural, stride) for natural in (4, 8, 16, 32)]
    assert sizes == [(64 // step, 96 // step) for step in steps]


@pytest.mark.parametrize("width", [48, 64])
def test_groups_take_the_place_of_batches(width):
    model = built(depth=18, width=width, norm="group").train()
    assert not any("running_mean" in name for name, _ in model.named_buffers())
    assert model(images())["conv5"].isfinite().all()
