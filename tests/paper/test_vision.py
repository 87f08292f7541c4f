import pytest
import torch
import torchvision
from torch import nn

from closed_forms import mixer_multiply_adds
from quatrain.cost import count_multiply_adds
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models.detector import DetectorLayers, DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import configurations, points
from quatrain.paper.vision import (
    ATTENTION,
    DEFORMABLE,
    IMAGE_SIZES,
    base_multiply_adds,
    cost_rows,
    overhead,
)

TABLES = {
    "detection": ("figure-3a", "table-2", "table-3"),
    "segmentation": ("figure-3b", "table-2", "table-3"),
}
both_tasks = pytest.mark.parametrize("task", TABLES)
pytestmark = pytest.mark.xdist_group("paper's vision")  # the tests share cached counts


@both_tasks
def test_computed_costs_are_within_a_tenth_of_the_published_ones(task):
    rows = cost_rows(task)
    for table in TABLES[task]:
        expected = {(table, point.config) for point in configurations(table, task)}
        assert expected <= {(row.table, row.config) for row in rows}
    for row in rows:
        odd = task == "segmentation" and row.config.split("+")[0] in ("1000", "1010")
        assert row.computed == pytest.approx(row.published, abs=0.3 if odd else 0.1), row
        assert bool(row.note) == odd or row.table == "table-3", row


@both_tasks
def test_executed_cost_is_our_base_network_plus_overhead(task):
    base = base_multiply_adds(task) / 1e9
    for row in cost_rows(task):
        assert row.base_computed == base
        assert row.executed == pytest.approx(base + row.overhead_executed)
        assert row.overhead_executed == overhead(task, row.config).executed / 1e9
        assert row.config != "w/o" or row.executed == base


@both_tasks
@pytest.mark.parametrize("config", ["0110", "1111", "dynamic@13"])
def test_executed_overhead_is_the_closed_form(task, config):
    expected = 0
    for stage in ATTENTION[task]:
        with torch.device("meta"):
            module = parse_mixer(config).build(stage.channels)
        expected += stage.blocks * mixer_multiply_adds(module, batch=1, sizes=stage.sizes)
    assert overhead(task, config).executed == expected


@both_tasks
@pytest.mark.parametrize(
    "config",
    [
        "w/o+deformable",
        "0110+deformable",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("1111", "0100@31", "dynamic@13")),
    ],
)
def test_count_of_the_whole_network_is_the_base_network_plus_overhead(task, config):
    mixer = parse_mixer(config)
    if task == "segmentation":
        backbone = ResNetSpec(output_stride=8, mixer=mixer)
        network = build_on_meta(SegmenterSpec(backbone=backbone), 19)
    else:
        spec = DetectorSpec(backbone=ResNetSpec(mixer=mixer))
        network = DetectorLayers(build_on_meta(spec, 80), spec.test_proposals)
    counted = count_multiply_adds(network, meta_image(IMAGE_SIZES[task]))
    assert counted.by_convention - base_multiply_adds(task) == overhead(task, config).computed


@both_tasks
def test_deformable_convolution_adds_the_branch_that_predicts_offsets(task):
    added, expected = overhead(task, "w/o+deformable"), 0
    for stage in DEFORMABLE[task]:
        branch = nn.Conv2d(stage.channels, 18, 3).weight.numel()
        expected += stage.blocks * branch * torch.Size(stage.sizes).numel()
    assert (added.computed, added.executed) == (0, expected)


def test_base_detector_is_the_published_backbone_a_pyramid_and_its_heads():
    height, width = IMAGE_SIZES["detection"]
    published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_ops"] * 1e9
    backbone = (published - 2048 * 1000) * height * width / 224**2
    positions = [height * width // stride**2 for stride in (4, 8, 16, 32)]
    coarsest = 13 * 21
    channels = (256, 512, 1024, 2048)
    pyramid = sum(n * (c * 256 + 9 * 256 * 256) for n, c in zip(positions, channels, strict=True))
    proposals = (sum(positions) + coarsest) * (9 * 256 * 256 + 256 * 3 * (1 + 4))
    heads = 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 81 * (1 + 4))
    expected = backbone + pyramid + proposals + heads
    assert base_multiply_adds("detection") == pytest.approx(expected, rel=1e-3)


def test_base_segmenter_is_a_dilated_backbone_and_four_convolutions():
    with torch.device("meta"):
        backbone = ResNetSpec(output_stride=8).build()
        count = count_multiply_adds(backbone, torch.empty(1, 3, *IMAGE_SIZES["segmentation"]))
    head = 9 * 512 * (2048 + 512 + 2048 + 512) + 512 * 19
    assert base_multiply_adds("segmentation") == count + 96 * 96 * head


@both_tasks
def test_base_network_is_within_two_percent_of_the_published_one(task):
    (without,) = (p.giga_multiply_adds for p in points(TABLES[task][0]) if p.config == "w/o")
    assert base_multiply_adds(task) / 1e9 == pytest.approx(without, rel=0.02)
