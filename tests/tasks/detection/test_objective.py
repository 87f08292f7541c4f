import dataclasses

import torch
from torch.testing import assert_close

from quatrain.models.detector import DetectorSpec, Targets
from quatrain.models.resnet import ResNetSpec
from quatrain.tasks.detection.data import read_detection
from quatrain.tasks.detection.objective import DetectionObjective, collate
from quatrain.tasks.digit_scenes import DigitScenesSpec


def samples():
    part = read_detection(DigitScenesSpec(size=64, train=3, valid=1, test=1), None).train
    first, *rest = (part[index] for index in range(3))
    return [dataclasses.replace(first, image=first.image[:, :50]), *rest]


def test_images_are_padded_and_boxes_concatenated():
    batch_samples = samples()
    batch = collate(batch_samples)
    assert batch["images"].shape == (3, 3, 64, 64)
    assert torch.equal(batch["images"][0, :, :50], batch_samples[0].image)
    assert not batch["images"][0, :, 50:].any()
    assert batch["sizes"].tolist() == [[50, 64], [64, 64], [64, 64]]
    assert batch["counts"].tolist() == [len(sample.labels) for sample in batch_samples]
    assert torch.equal(batch["boxes"], torch.cat([sample.boxes for sample in batch_samples]))


def test_crowd_boxes_are_no_targets():
    batch_samples = [
        dataclasses.replace(sample, crowd=torch.ones_like(sample.crowd)) for sample in samples()
    ]
    batch = collate(batch_samples)
    assert batch["boxes"].shape == (0, 4)
    assert batch["counts"].tolist() == [0, 0, 0]


def test_the_loss_is_the_mean_of_the_images_times_their_number():
    torch.manual_seed(0)
    spec = DetectorSpec(
        backbone=ResNetSpec(depth=18, width=8, norm="group"), channels=16, head_channels=16
    )
    objective = DetectionObjective(spec.build(classes=10)).train()
    batch_samples = samples()
    torch.manual_seed(1)
    loss = objective(**collate(batch_samples))
    torch.manual_seed(1)
    expected = objective.detector.losses(
        [sample.image for sample in batch_samples],
        [Targets(sample.boxes, sample.labels) for sample in batch_samples],
    )
    assert_close(loss.total, 3 * torch.stack(list(expected.values())).sum())
    assert loss.weight == 3
