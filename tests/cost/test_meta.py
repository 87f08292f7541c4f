from quatrain.cost.meta import build_on_meta, meta_image
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer


def test_a_network_of_sizes_alone_needs_no_weights_and_may_be_another():
    backbone = ResNetSpec(depth=18, weights="0" * 64, mixer=parse_mixer("0010"))
    spec = SegmenterSpec(backbone=backbone, channels=16)
    attended, plain = build_on_meta(spec, 5), build_on_meta(spec, 5, mixer=None)
    assert (
        attended(meta_image((64, 96))).shape == plain(meta_image((64, 96))).shape == (1, 5, 64, 96)
    )
    assert all(each.is_meta for each in attended.parameters())
    assert len(list(attended.parameters())) > len(list(plain.parameters()))
