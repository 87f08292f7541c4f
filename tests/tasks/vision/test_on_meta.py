from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.tasks.vision.on_meta import blank, on_meta


def test_a_network_of_sizes_alone_needs_no_weights_and_may_be_another():
    backbone = ResNetSpec(depth=18, weights="0" * 64, mixer=parse_mixer("0010"))
    spec = SegmenterSpec(backbone=backbone, channels=16)
    attended, plain = on_meta(spec, 5), on_meta(spec, 5, mixer=None)
    assert attended(blank((64, 96))).shape == plain(blank((64, 96))).shape == (1, 5, 64, 96)
    assert all(each.is_meta for each in attended.parameters())
    assert len(list(attended.parameters())) > len(list(plain.parameters()))
