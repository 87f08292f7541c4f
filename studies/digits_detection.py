"""Which mixer does a detector need? On digit scenes, which quatrain makes itself.

    quatrain study run studies/digits_detection.py --out OUT

Handwritten digits on cluttered canvases of 96 pixels are to be found and named. Five cells and two
seeds, about 4 minutes on 2 cores, after the installation.

What to expect: 150 steps are a beginning, so what is compared is how fast each learns. A digit is
smaller than what a convolution sees, and so little is to be gained from afar: whether attention
or a deformable convolution helps here at all is what the study measures, whatever the sign.
"""

from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import DetectionAugmentation, DetectionSpec
from quatrain.tasks.scenes import DigitScenesSpec
from quatrain.training import Polynomial, Recipe

MIXERS = ("w/o", "0010", "1111", "w/o+deformable", "0010+deformable")
HEADS = 4


def detection(mixer: str) -> DetectionSpec:
    """A detector small enough for one core and less than a minute, with the given mixer."""
    return DetectionSpec(
        data=DigitScenesSpec(),
        model=DetectorSpec(
            backbone=ResNetSpec(depth=18, width=16, norm="group", mixer=parse_mixer(mixer, HEADS)),
            channels=32,
            norm="group",
            anchor_scale=4,
            anchors_sampled=128,
            train_proposals=100,
            test_proposals=50,
            regions_sampled=64,
            head_channels=128,
        ),
        augmentation=DetectionAugmentation(shorter=96, longer=96, flip=0),
        recipe=Recipe(
            steps=150,
            learning_rate=3e-3,
            betas=(0.9, 0.99),
            epsilon=1e-8,
            warmup_steps=15,
            schedule=Polynomial(power=1.0),
            clip_norm=1.0,
            report_every=10,
            checkpoint_every=100,
        ),
        batch=8,
    )


study = Study(
    title="Mixers in a detector, on digit scenes",
    question="Does attention, or a deformable convolution, help a small detector to find digits?",
    cells=[Cell(name=mixer, group="digits", spec=detection(mixer)) for mixer in MIXERS],
    seeds=(0, 1),
    metric="ap50",
    comparisons=[
        Comparison(left=mixer, right="w/o", group="digits") for mixer in MIXERS if mixer != "w/o"
    ],
)
