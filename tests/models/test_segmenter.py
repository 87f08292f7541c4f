import pytest
import torch
from torch import nn

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec, resize_scores
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import parse_mixer

MIXERS = ("1111", "0010+deformable", "dynamic@3", "deformable-attention")


def spec(mixer="w/o", **fields):
    backbone = ResNetSpec(depth=18, width=8, output_stride=8, mixer=parse_mixer(mixer, heads=2))
    return SegmenterSpec(**({"backbone": backbone, "channels": 16} | fields))


def built(*arguments, **fields):
    torch.manual_seed(0)
    return spec(*arguments, **fields).build(classes=5).eval()


def images(height=40, width=56):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


def test_logits_have_the_size_of_the_image_and_scores_come_from_both_heads():
    network = built()
    assert network(images(41, 57)).shape == (2, 5, 41, 57)
    main, auxiliary = network.scores(images())
    assert auxiliary is None  # it serves the loss of training only
    assert torch.equal(network(images()), resize_scores(main, (40, 56)))
    main, auxiliary = network.train().scores(images())
    assert main.shape == auxiliary.shape == (2, 5, 5, 7)
    auxiliary.sum().backward()
    assert all(p.grad is None for p in network.head.parameters())


def test_the_default_is_the_network_of_the_paper():
    with torch.device("meta"):
        network = SegmenterSpec().build(classes=19)
    convolutions = [part for part in network.head.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [512, 512, 512, 19]
    assert network.head.join[0].in_channels == 2048 + 512
    assert network.auxiliary[0][0].in_channels == 1024
    assert network(torch.empty(1, 3, 97, 97, dtype=torch.uint8, device="meta")).shape[1] == 19
    assert isinstance(network.head.enter[1], nn.SyncBatchNorm)


@pytest.mark.parametrize("mixer", MIXERS)
def test_weights_of_the_plain_network_do_not_depend_on_the_mixer(mixer):
    plain = built().state_dict()
    mixed = {
        name.replace(".original.", ".").replace(".conv2.block.", ".conv2."): value
        for name, value in built(mixer).state_dict().items()
    }
    assert plain.keys() <= mixed.keys()
    assert [name for name in plain if not torch.equal(plain[name], mixed[name])] == []
    torch.manual_seed(1)
    other = spec(mixer).build(classes=5).state_dict()
    for name in ("head.classify.weight", "auxiliary.2.weight", "backbone.body.conv1.weight"):
        assert not torch.equal(plain[name], other[name])


def test_mixers_of_the_extra_module_share_initial_weights_of_the_same_name():
    one, two = built("1111").head.extra.mixer, built("0110").head.extra.mixer
    assert torch.equal(one.query.weight, two.query.weight)
    assert torch.equal(one.output.weight, two.output.weight)


@pytest.mark.parametrize("mixer", ["1111", "dynamic@3"])
def test_with_attention_it_starts_as_the_plain_network(mixer):
    plain, mixed = built(), built(mixer)
    assert torch.equal(plain(images()), mixed(images()))
    assert isinstance(mixed.head.extra, GatedResidual)
    nn.init.ones_(mixed.head.extra.gamma)
    assert not torch.allclose(plain(images()), mixed(images()))


def test_the_extra_module_exists_for_inserted_mixers_only():
    assert built("w/o").head.extra is None
    assert built("w/o+deformable").head.extra is None
    assert built("1111", extra=False).head.extra is None
    assert built("0010+deformable").head.extra.mixer.spec == parse_mixer("0010", heads=2)


@pytest.mark.parametrize("norm", ["synchronized", "batch", "group"])
def test_every_parameter_gets_a_gradient_with_every_normalization(norm):
    network = built(norm=norm).train()
    main, auxiliary = network.scores(images())
    (main.sum() + auxiliary.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_scores_are_resized_without_aligning_corners():
    resized = resize_scores(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    assert resized.flatten().tolist() == [0, 0.25, 0.75, 1]
