import torch
from torch.testing import assert_close
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from quatrain.models.detector import DetectorSpec
from quatrain.models.regions import AlignedRegions, ExactAnchors
from quatrain.models.resnet import ResNetSpec

STRIDES = (4, 8, 16, 32, 64)


def test_anchors_have_exact_sides_and_the_stride_of_their_map():
    anchors = ExactAnchors(((32,), (512,)), ((0.5, 2.0),) * 2, (4, 64))
    images = ImageList(torch.zeros(1, 3, 160, 224), [(150, 203)])
    [boxes] = anchors(images, [torch.zeros(1, 1, 40, 56), torch.zeros(1, 1, 3, 4)])
    fine, coarse = boxes.split([40 * 56 * 2, 3 * 4 * 2])
    width, height = 32 * 2**0.5, 32 * 0.5**0.5
    assert_close(fine[0], torch.tensor([-width / 2, -height / 2, width / 2, height / 2]))
    assert_close(fine[2] - fine[0], torch.tensor([4.0, 0, 4, 0]))
    assert_close(coarse[8] - coarse[0], torch.tensor([0, 64.0, 0, 64]))  # 160 // 3 is 53


def test_each_region_is_pooled_from_the_map_of_its_size():
    generator = torch.Generator().manual_seed(0)
    maps = {
        f"conv{level + 2}": torch.randn(2, 3, 64 >> level, 96 >> level, generator=generator)
        for level in range(4)
    }
    boxes = [
        torch.tensor([[3.2, 5.1, 30, 60], [0, 0, 224, 224], [10, 20, 300, 250]]),
        torch.tensor([[1.0, 2, 120, 121]]),
    ]
    pool = AlignedRegions(list(maps), 7, STRIDES)
    result = pool(maps, boxes, [])
    for row, (image, box, level) in enumerate([(0, 0, 0), (0, 1, 2), (0, 2, 2), (1, 0, 1)]):
        features = maps[f"conv{level + 2}"][image : image + 1]
        region = [boxes[image][box : box + 1]]
        expected = roi_align(features, region, 7, 1 / STRIDES[level], -1, aligned=True)
        assert_close(result[row], expected[0])
    assert pool(maps, [torch.zeros(0, 4)] * 2, []).shape == (0, 3, 7, 7)


def test_the_exact_geometry_is_a_field_of_the_detector():
    backbone = ResNetSpec(depth=18, width=8, norm="group")
    spec = DetectorSpec(
        backbone=backbone, channels=16, head_channels=16, test_proposals=20, geometry="mmdetection"
    )
    detector = spec.build(3).eval()
    assert isinstance(detector.network.rpn.anchor_generator, ExactAnchors)
    assert isinstance(detector.network.roi_heads.box_roi_pool, AlignedRegions)
    [found] = detector([torch.zeros(3, 60, 90, dtype=torch.uint8)])
    assert found.boxes.shape[1] == 4
