import pytest

from quatrain.models.frozen_segmenter import FrozenSegmenterSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.report.scale import Scale, scale_of
from quatrain.tasks.detection import COCO2017, DetectionSpec, frozen_detection
from quatrain.tasks.segmentation import FoldersSpec, SegmentationAugmentation, SegmentationSpec
from quatrain.tasks.translation import WMT14, NumeralsSpec, TranslationSpec
from quatrain.training import Recipe


def scale(spec):
    return scale_of(spec.model_dump(mode="json"))


def segmentation(**fields):
    return SegmentationSpec(data=FoldersSpec(), **fields)


def test_a_detector_has_the_sides_of_its_images_and_the_images_of_a_step():
    recipe = Recipe(steps=90_000, accumulate=8)
    spec = DetectionSpec(data=COCO2017, recipe=recipe, batch=2)
    assert scale(spec) == Scale(
        network="ResNet-50 of width 64",
        inputs="images of at most 800 x 1,333 pixels",
        training="90,000 steps of at most 16 images",
        initialization="random",
    )


def test_a_segmenter_has_its_crops_and_the_factor_on_its_images():
    small = SegmentationAugmentation(crop=192)
    assert scale(segmentation(augmentation=small, scale=0.5)).inputs == (
        "crops of at most 192 x 192 pixels of images scaled by 0.5"
    )
    wide = SegmentationAugmentation(crop=(180, 240))
    assert scale(segmentation(augmentation=wide)).inputs == "crops of at most 180 x 240 pixels"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, "random"), ("IMAGENET1K_V1", "ImageNet"), ("0" * 64, "a file of weights")],
)
def test_initial_weights_are_named_by_their_source(weights, expected):
    spec = segmentation(model=SegmenterSpec(backbone=ResNetSpec(weights=weights)))
    assert scale(spec).initialization == expected


def test_a_frozen_backbone_is_named():
    whole = SegmentationAugmentation(smallest=1, largest=1)
    found = scale(segmentation(model=FrozenSegmenterSpec(channels=32), augmentation=whole))
    assert found.network == "head of width 32 on tf_efficientnet_lite0"
    assert found.initialization == "ImageNet, frozen backbone"


def test_the_width_of_a_frozen_detector_is_that_of_its_pyramid():
    spec = frozen_detection(parse_mixer("0010"), COCO2017, steps=100)
    found = scale(spec)
    width = spec.model.channels
    assert found.network == f"pyramid of width {width} on tf_efficientnet_lite0"
    assert found.initialization == "ImageNet, frozen backbone"


def test_a_translator_has_its_pairs_where_their_number_is_set():
    model = TranslatorSpec(width=64, layers=2)
    spec = TranslationSpec(data=NumeralsSpec(train=20_000), model=model, batch_tokens=1024)
    found = scale(spec)
    assert found.network == "Transformer of 2 + 2 layers, width 64"
    assert found.inputs.startswith("20,000 generated pairs, vocabulary of at most ")
    assert found.training.endswith(" steps of at most 1,024 tokens a side")
    text = TranslationSpec(data=WMT14).model_dump(mode="json")
    limited = {**text, "data": {**text["data"], "limit": 500}}
    assert scale_of(text).inputs.startswith("sentence pairs, ")
    assert scale_of(limited).inputs.startswith("500 sentence pairs, ")


def test_other_tasks_have_no_scale():
    assert scale_of({"kind": "probe", "recipe": {"steps": 100}}) is None
    assert scale_of({"kind": "translation", "model": {"width": 64}}) is None
    assert scale_of({}) is None
