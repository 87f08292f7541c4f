"""Training steps of the small detector and segmenter, ours and built from torchvision's parts.

    call = step("detector", "0010+deformable", "cpu")     # one optimizer step each time

Images are digit scenes: 4 of 320 x 320 for the detector, 8 crops of 192 x 192 for the segmenter.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.command import choose
from benchmarks.plain_vision import PlainDetector, PlainSegmenter
from quatrain.nn.mixers import parse_mixer
from quatrain.tasks.detection import DetectionSpec, small_detection
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation import SegmentationSpec, small_segmentation

PLAIN = "torchvision"
"""The value of `mixer` for the network built from torchvision's parts."""
LONGER, CROP, CLASSES = 320, 192, 10
STEPS = 12


def step(network: str, mixer: str, device: str) -> Callable[[], object]:
    """A function that runs one training step on the same batch each time."""
    torch.manual_seed(0)
    spec = _spec(network, "w/o" if mixer == PLAIN else mixer)
    task = spec.open(None, Path(), seed=0)
    batch = {name: x.to(device) for name, x in task.collate(task.batches(0)[0]).items()}
    objective = (_plain(spec) if mixer == PLAIN else task.build()).to(device).train()
    adam = torch.optim.Adam(objective.parameters(), lr=1e-4, fused=True)

    def call() -> None:
        adam.zero_grad()
        loss: Any = objective(**batch)
        (loss if mixer == PLAIN else loss.total / loss.weight).backward()
        adam.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def _spec(network: str, mixer: str) -> DetectionSpec | SegmentationSpec:
    """The small recipe with a backbone of full width."""
    small = choose("network", network, {"detector": _detection, "segmenter": _segmentation})(mixer)
    backbone = small.model.backbone.model_copy(update={"width": 64})
    model = small.model.model_copy(update={"backbone": backbone})
    recipe = small.recipe.model_copy(update={"report_every": 1})
    return small.model_copy(update={"model": model, "recipe": recipe})


def _detection(mixer: str) -> DetectionSpec:
    scenes = DigitScenesSpec(size=LONGER, train=16, valid=1, test=1)
    return small_detection(parse_mixer(mixer), scenes, steps=STEPS, longer=LONGER)


def _segmentation(mixer: str) -> SegmentationSpec:
    scenes = DigitScenesSpec(size=CROP, train=16, valid=1, test=1)
    return small_segmentation(parse_mixer(mixer), scenes, steps=STEPS, scale=1.0, crop=CROP)


def _plain(spec: DetectionSpec | SegmentationSpec) -> nn.Module:
    if isinstance(spec, DetectionSpec):
        return PlainDetector(spec.model, CLASSES, LONGER)
    return PlainSegmenter(spec.model, CLASSES + 1)
