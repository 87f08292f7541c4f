import pytest
import torch

from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.tasks.detection import CocoSpec, frozen_detection, small_detection
from quatrain.tasks.digit_scenes import DigitScenesSpec

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_small_detector_has_few_parameters_and_not_frozen(tmp_path):
    scenes = DigitScenesSpec(size=64, train=4, valid=1, test=1)
    spec = small_detection(parse_mixer("0010+deformable"), scenes, steps=10, longer=64)
    task = spec.open(None, tmp_path, 0)
    objective = task.build()
    assert all(parameter.requires_grad for parameter in objective.parameters())
    assert sum(parameter.numel() for parameter in objective.parameters()) < 6e6
    assert not any("running_mean" in name for name in objective.state_dict())
    torch.manual_seed(0)
    assert objective.train()(**task.example_batch()).total.item() > 0


def test_the_warmup_of_the_small_detector_is_short():
    spec = small_detection(None, DigitScenesSpec(), steps=6000, monitor_every=7)
    assert (spec.recipe.warmup_steps, spec.recipe.monitor_every) == (200, 7)
    assert small_detection(None, DigitScenesSpec(), steps=50).recipe.warmup_steps == 5


def test_the_detector_on_a_frozen_backbone_has_the_sizes_of_the_small_one():
    frozen, trained = (
        make(None, CocoSpec(), steps=400, longer=256, monitor_every=50)
        for make in (frozen_detection, small_detection)
    )
    assert frozen.model.backbone == FrozenBackboneSpec()
    backbone = {"backbone": ResNetSpec(depth=18, width=32, norm="group")}
    model = frozen.model.model_copy(update=backbone)
    recipe = frozen.recipe.model_copy(update={"learning_rate": 1e-3})
    assert frozen.model_copy(update={"model": model, "recipe": recipe}) == trained
    assert (frozen.recipe.steps, frozen.recipe.monitor_every, frozen.batch) == (400, 50, 4)
    assert frozen.recipe.learning_rate == 3e-3
    assert frozen.augmentation.longer == 256


def test_detectors_on_a_frozen_backbone_differ_in_their_mixer_only():
    plain, mixed = (
        frozen_detection(parse_mixer(mixer), CocoSpec(), steps=400) for mixer in ("w/o", "0110")
    )
    assert plain != mixed
    model = mixed.model.model_copy(update={"pyramid_mixer": None})
    assert mixed.model_copy(update={"model": model}) == plain
