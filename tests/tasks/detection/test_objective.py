import dataclasses

import torch
from torch.testing import assert_close

from quatrain.models.detector import DetectorSpec, Targets
from quatrain.models.resnet import ResNetSpec
from quatrain.tasks.detection.data import read_detection
from quatrain.tasks.detection.objective import DetectionObjective, collated, padded
from quatrain.tasks.digit_scenes import DigitScenesSpec


def samples():
    part = read_detection(DigitScenesSpec(size=64, train=3, valid=1, test=1), None).train
    first, *rest = (part[index] for index in range(3))
    return [dataclasses.replace(first, image=first.image[:, :50]), *rest]


def test_images_are_padded_and_boxes_follow_one_another():
    made = samples()
    batch = collated(made)
    assert batch["images"].shape == (3, 3, 64, 64)
    assert torch.equal(batch["images"][0, :, :50], made[0].image)
    assert not batch["images"][0, :, 50:].any()
    assert batch["sizes"].tolist() == [[50, 64], [64, 64], [64, 64]]
    assert batch["counts"].tolist() == [len(sample.labels) for sample in made]
    assert torch.equal(batch["boxes"], torch.cat([sample.boxes for sample in made]))
    assert padded(torch.ones(3, 2, 2, dtype=torch.uint8), 3, 4).sum() == 12


def test_crowds_are_no_targets_and_nothing_may_be_left():
    made = [
        dataclasses.replace(sample, crowd=torch.ones_like(sample.crowd)) for sample in samples()
    ]
    batch = collated(made)
    assert batch["boxes"].shape == (0, 4)
    assert batch["counts"].tolist() == [0, 0, 0]


def test_the_loss_is_the_mean_of_the_images_times_their_number():
    torch.manual_seed(0)
    spec = DetectorSpec(
        backbone=ResNetSpec(depth=18, width=8, norm="group"), channels=16, head_channels=16
    )
    objective = DetectionObjective(spec.build(classes=10)).train()
    made = samples()
    torch.manual_seed(1)
    loss = objective(**collated(made))
    torch.manual_seed(1)
    expected = objective.detector.losses(
        [sample.image for sample in made],
        [Targets(sample.boxes, sample.labels) for sample in made],
    )
    assert_close(loss.total, 3 * torch.stack(list(expected.values())).sum())
    assert loss.weight == 3
