"""Which mixer does a segmenter need? On digit scenes, which quatrain makes itself.

    quatrain study run studies/digits_segmentation.py --out OUT

Each pixel of a cluttered canvas of 96 pixels is background or belongs to one of ten handwritten
digits. Five cells and two seeds, about 3 minutes on 2 cores, after the installation.

What to expect: 150 steps are a beginning, so what is compared is how fast each learns; a digit is
smaller than what a convolution sees, so whether attention or a deformable convolution helps here
at all is what the study measures, whatever the sign.
"""

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.scenes import DigitScenesSpec
from quatrain.tasks.segmentation import SegmentationAugmentation, SegmentationSpec
from quatrain.training import Polynomial, Recipe

MIXERS = ("w/o", "0010", "1111", "w/o+deformable", "0010+deformable")
HEADS = 4


def segmentation(mixer: str) -> SegmentationSpec:
    """A segmenter small enough for one core and less than a minute, with the given mixer."""
    return SegmentationSpec(
        data=DigitScenesSpec(),
        model=SegmenterSpec(
            backbone=ResNetSpec(
                depth=18, width=16, output_stride=8, mixer=parse_mixer(mixer, HEADS)
            ),
            channels=64,
            norm="batch",
        ),
        augmentation=SegmentationAugmentation(smallest=0.8, largest=1.25, crop=96, flip=0),
        recipe=Recipe(
            steps=150,
            learning_rate=3e-3,
            betas=(0.9, 0.99),
            epsilon=1e-8,
            weight_decay=0.01,
            warmup_steps=15,
            schedule=Polynomial(power=1.0),
            clip_norm=1.0,
            report_every=10,
            checkpoint_every=100,
        ),
        batch=8,
    )


study = Study(
    title="Mixers in a segmenter, on digit scenes",
    question="Does attention, or a deformable convolution, help a small segmenter to tell digits?",
    cells=[Cell(name=mixer, group="digits", spec=segmentation(mixer)) for mixer in MIXERS],
    seeds=(0, 1),
    metric="miou",
    comparisons=[
        Comparison(left=mixer, right="w/o", group="digits") for mixer in MIXERS if mixer != "w/o"
    ],
)
