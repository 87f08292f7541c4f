"""Which attention, or convolution, does a detector need? On digit scenes from quatrain.

    make studies      or        quatrain study run studies/digits_detection.py --out OUT

Detect handwritten digits on cluttered canvases. Three cells and three seeds; 4 to 5 minutes on 2
cores.

This is an example of a whole detection study within minutes and not evidence: 260 steps and three
seeds leave all but large differences inconclusive (docs/results/digits_detection). For a result,
raise `steps`, `train` and the number of seeds in a copy. Hypothesis: digits vary in size and are
recognized by their whole shape, which deformable convolution can follow; attention can separate a
digit from fragments of others.
"""

from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import DetectionAugmentation, DetectionSpec
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.training import Polynomial, Recipe

MIXERS = ("w/o", "1111", "w/o+deformable")
SIDE, HEADS = 96, 4
SCENES = DigitScenesSpec(
    size=SIDE, train=1500, valid=50, test=200, most=3, clutter=4, lowest=0.25, highest=0.45
)


def detection(mixer: str) -> DetectionSpec:
    """A detector small enough for one core and a minute, with the given mixer."""
    backbone = ResNetSpec(depth=18, width=16, mixer=parse_mixer(mixer, HEADS), norm="group")
    return DetectionSpec(
        data=SCENES,
        model=DetectorSpec(
            backbone=backbone,
            channels=32,
            norm="group",
            anchor_scale=4,
            anchor_ratios=(1.0,),
            train_proposals=64,
            test_proposals=48,
            anchors_sampled=64,
            regions_sampled=32,
            head_channels=128,
        ),
        augmentation=DetectionAugmentation(shorter=SIDE, longer=SIDE, flip=0.0),
        recipe=Recipe(
            steps=260,
            learning_rate=5e-3,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            warmup_steps=26,
            schedule=Polynomial(power=0.9),
            clip_norm=1.0,
            report_every=10,
            checkpoint_every=100,
        ),
        batch=8,
    )


study = Study(
    title="Attention on digit scenes: detection",
    question="Which attention, or convolution, does a detector need?",
    cells=[Cell(name=mixer, group="detector", spec=detection(mixer)) for mixer in MIXERS],
    seeds=(0, 1, 2),
    metric="ap50",
    margin=1.0,
    comparisons=[Comparison(left=mixer, right="w/o", group="detector") for mixer in MIXERS[1:]],
)
