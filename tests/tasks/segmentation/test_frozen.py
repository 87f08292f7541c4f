import pytest
import torch

from quatrain.cost import count_multiply_adds
from quatrain.cost.count import meta_image
from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.frozen_segmenter import FrozenSegmenterSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError, canonical, identity
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation import (
    FoldersSpec,
    SegmentationAugmentation,
    SegmentationSpec,
    TilesSpec,
    frozen_segmentation,
)
from quatrain.tasks.segmentation.frozen import check_crop
from quatrain.tasks.vision import ImageSize
from quatrain.training import Recipe, train

WHOLE = SegmentationAugmentation(smallest=1, largest=1, crop=48)
FIELDS = {
    "data": DigitScenesSpec(size=48, train=6, valid=3, test=3),
    "augmentation": WHOLE,
    "recipe": Recipe(steps=4, warmup_steps=1, monitor_every=3, checkpoint_every=2),
    "batch": 3,
}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def frozen(tmp_path):
    """A spec with a frozen backbone and a small head, by its mixer."""

    def make(mixer="w/o", **changes):
        backbone = FrozenBackboneSpec(cache=str(tmp_path / "cache"))
        parsed = parse_mixer(mixer, heads=2)
        model = FrozenSegmenterSpec(backbone=backbone, channels=16, mixer=parsed)
        return SegmentationSpec(**(FIELDS | {"model": model} | changes))

    return make


def test_a_frozen_backbone_computes_each_image_and_its_flip_once(frozen, tmp_path):
    task = frozen("0010+deformable").open(None, tmp_path, 0)
    result = train(task, tmp_path / "run", seed=0)
    metrics = task.evaluate(result.objective, tmp_path / "run")
    assert 0 <= metrics.metrics["miou"] <= 100
    assert any(name.startswith("attention") for name in metrics.artifacts)
    features = result.objective.segmenter.backbone.features
    assert features.limit == 2 * 6 + 3 + 3
    number = len([*(tmp_path / "cache").rglob("*.safetensors")])
    assert 9 <= number <= features.limit
    again = train(frozen("0010+deformable").open(None, tmp_path, 0), tmp_path / "again", seed=0)
    assert len([*(tmp_path / "cache").rglob("*.safetensors")]) == number
    expected, actual = result.objective.state_dict(), again.objective.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []


def test_a_frozen_model_keeps_its_kind_in_json_and_has_an_identity_of_its_own(frozen):
    chosen = frozen("1111")
    read = SegmentationSpec.from_json(chosen.to_json())
    assert read == chosen
    assert type(read.model) is FrozenSegmenterSpec
    default = SegmentationSpec(model=FrozenSegmenterSpec(), augmentation=WHOLE)
    assert type(SegmentationSpec.from_json(default.to_json()).model) is FrozenSegmenterSpec
    assert canonical(default)["model"]["spec"] == "FrozenSegmenterSpec"
    trained = SegmentationSpec(augmentation=WHOLE)
    assert type(SegmentationSpec.from_json(trained.to_json()).model) is SegmenterSpec
    assert identity(default, 0) != identity(trained, 0)
    with pytest.raises(SpecError) as error:
        SegmentationSpec(model={"kind": "frozen", "channels": 0})
    assert error.value.field == "FrozenSegmenterSpec.channels"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"augmentation": SegmentationAugmentation(crop=48)}, "SegmentationAugmentation.largest"),
        ({"testing": TilesSpec(tile=32)}, "SegmentationSpec.testing"),
    ],
)
def test_a_frozen_model_refuses_images_that_are_new_each_time(changes, field, frozen):
    with pytest.raises(SpecError) as error:
        frozen(**changes)
    assert error.value.field == field


@pytest.mark.parametrize(("scale", "crop"), [(1.0, (48, 47)), (1.0, 40), (1.5, 48)])
def test_a_frozen_model_refuses_crops_when_the_data_are_opened(scale, crop, frozen, tmp_path):
    augmentation = WHOLE.model_copy(update={"crop": crop})
    chosen = frozen(augmentation=augmentation, scale=scale)
    with pytest.raises(SpecError) as error:
        chosen.open(None, tmp_path, 0)
    assert error.value.field == "SegmentationAugmentation.crop"
    side = round(48 * scale)
    assert f"use crop=({side}, {side})" in str(error.value)
    frozen(augmentation=augmentation.model_copy(update={"crop": 72})).open(None, tmp_path, 0)


def test_the_cost_of_a_frozen_model_is_that_of_the_whole_network(frozen, tmp_path):
    costs = {}
    for mixer in ("w/o", "0110"):
        task = frozen(mixer).open(None, tmp_path, 0)
        objective = task.build()
        costs[mixer] = task.cost(objective)
        backbone = count_multiply_adds(objective.segmenter.backbone, meta_image((48, 48)))
        assert costs[mixer]["multiply_adds"] > backbone > 0
    assert costs["0110"]["multiply_adds"] > costs["w/o"]["multiply_adds"]
    assert costs["w/o"]["parameters"] < 20_000


def test_gpu_hours_of_a_frozen_model_are_those_of_its_head(frozen):
    hours = [frozen(mixer).gpu_hours() for mixer in ("w/o", "1111")]
    assert 0 < hours[0] < hours[1] < SegmentationSpec(augmentation=WHOLE).gpu_hours()


def test_frozen_segmenters_differ_in_their_mixer_only():
    one, two = (
        frozen_segmentation(parse_mixer(mixer), FoldersSpec(), steps=400, monitor_every=50)
        for mixer in ("w/o", "0110")
    )
    assert one != two
    model = two.model.model_copy(update={"mixer": None})
    assert two.model_copy(update={"model": model}) == one
    assert (one.recipe.steps, one.recipe.monitor_every, one.batch) == (400, 50, 8)
    assert one.recipe.learning_rate == 3e-3
    finer = frozen_segmentation(None, FoldersSpec(), steps=400, maps=("conv3", "conv4"))
    assert finer.model.maps == ("conv3", "conv4")


def test_the_smallest_crop_that_cuts_no_image_is_named():
    sizes = [ImageSize(40, 20), ImageSize(30, 60)]
    check_crop(WHOLE.model_copy(update={"crop": (40, 60)}), sizes)
    with pytest.raises(SpecError) as error:
        check_crop(WHOLE.model_copy(update={"crop": (40, 59)}), sizes)
    assert "use crop=(40, 60)" in str(error.value)
