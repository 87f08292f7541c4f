import pytest
import torch
import torchvision

from quatrain.cost import count_multiply_adds
from quatrain.models.resnet import ResNetSpec
from quatrain.paper.base_network import SIZES, multiply_adds
from quatrain.paper.published import points

pytestmark = pytest.mark.xdist_group("paper's vision")


def test_the_detector_is_the_published_backbone_a_pyramid_and_its_heads():
    height, width = SIZES["detection"]
    published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_ops"] * 1e9
    backbone = (published - 2048 * 1000) * height * width / 224**2
    positions = [height * width // stride**2 for stride in (4, 8, 16, 32)]
    coarsest = 13 * 21
    channels = (256, 512, 1024, 2048)
    pyramid = sum(n * (c * 256 + 9 * 256 * 256) for n, c in zip(positions, channels, strict=True))
    proposals = (sum(positions) + coarsest) * (9 * 256 * 256 + 256 * 3 * (1 + 4))
    heads = 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 81 * (1 + 4))
    expected = backbone + pyramid + proposals + heads
    assert multiply_adds("detection") == pytest.approx(expected, rel=1e-3)


def test_the_segmenter_is_a_dilated_backbone_and_four_convolutions():
    with torch.device("meta"):
        backbone = ResNetSpec(output_stride=8).build()
        counted = count_multiply_adds(backbone, torch.empty(1, 3, *SIZES["segmentation"]))
    head = 9 * 512 * (2048 + 512 + 2048 + 512) + 512 * 19
    assert multiply_adds("segmentation") == counted + 96 * 96 * head


@pytest.mark.parametrize(
    ("task", "table"), [("detection", "figure-3a"), ("segmentation", "figure-3b")]
)
def test_it_is_about_as_large_as_the_papers_which_is_not_known_exactly(task, table):
    (without,) = (p.giga_multiply_adds for p in points(table) if p.config == "w/o")
    assert multiply_adds(task) / 1e9 == pytest.approx(without, rel=0.02)
