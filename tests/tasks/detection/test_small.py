import torch

from quatrain.nn.mixers import parse_mixer
from quatrain.tasks.detection import small_detection
from quatrain.tasks.digit_scenes import DigitScenesSpec


def test_the_network_is_small_and_not_frozen(tmp_path):
    scenes = DigitScenesSpec(size=64, train=4, valid=1, test=1)
    spec = small_detection(parse_mixer("0010+deformable"), scenes, steps=10, longer=64)
    task = spec.open(None, tmp_path, 0)
    objective = task.build()
    assert all(parameter.requires_grad for parameter in objective.parameters())
    assert sum(parameter.numel() for parameter in objective.parameters()) < 6e6
    assert not any("running_mean" in name for name in objective.state_dict())
    torch.manual_seed(0)
    assert objective.train()(**task.example_batch()).total.item() > 0


def test_the_warmup_is_short():
    spec = small_detection(None, DigitScenesSpec(), steps=6000, monitor_every=7)
    assert (spec.recipe.warmup_steps, spec.recipe.monitor_every) == (200, 7)
    assert small_detection(None, DigitScenesSpec(), steps=50).recipe.warmup_steps == 5
