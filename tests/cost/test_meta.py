from quatrain.cost.meta import build_on_meta, meta_image
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer


def test_network_on_meta_needs_no_weights():
    backbone = ResNetSpec(depth=18, weights="0" * 64, mixer=parse_mixer("0010"))
    network = build_on_meta(SegmenterSpec(backbone=backbone, channels=16), 5)
    assert network(meta_image((64, 96))).shape == (1, 5, 64, 96)
    assert all(each.is_meta for each in network.parameters())
