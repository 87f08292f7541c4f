import pytest

from quatrain.nn.mixers import parse_mixer
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation import FoldersSpec, small_segmentation


@pytest.mark.parametrize("steps", [1, 2, 50, 6000])
def test_any_number_of_steps_is_possible(steps):
    spec = small_segmentation(None, FoldersSpec(), steps=steps, monitor_every=7)
    assert (spec.recipe.steps, spec.recipe.monitor_every) == (steps, 7)
    assert spec.recipe.warmup_steps <= 100


def test_small_segmenters_differ_in_their_mixer_only():
    one, two = (
        small_segmentation(parse_mixer(mixer), FoldersSpec(), steps=9) for mixer in ("w/o", "0110")
    )
    assert one != two
    unmixed = two.model.backbone.model_copy(update={"mixer": None})
    model = two.model.model_copy(update={"backbone": unmixed})
    assert two.model_copy(update={"model": model}) == one


def test_a_street_scene_needs_few_multiply_adds(tmp_path):
    data = DigitScenesSpec(size=416, train=1, valid=1, test=1)  # as many pixels as CamVid has
    task = small_segmentation(None, data, steps=9).open(None, tmp_path, 0)
    cost = task.cost(task.build())
    assert cost["multiply_adds"] < 3e9
    assert cost["parameters"] < 5e6
    assert task.collate(task.batches(0)[0])["images"].shape == (1, 3, 192, 192)
    assert task.build().eval()(**task.example_batch()).total.isfinite()
