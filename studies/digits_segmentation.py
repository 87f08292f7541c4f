"""Which attention, or convolution, does a segmenter need? On digit scenes from quatrain.

    make studies      or        quatrain study run studies/digits_segmentation.py --out OUT

Label each pixel of a cluttered canvas as background or one of ten handwritten digits. Three cells
and three seeds; 5 to 6 minutes on 2 cores.

This is an example of a whole segmentation study within minutes and not evidence: 450 steps and
three seeds leave all but large differences inconclusive (docs/results/digits_segmentation). For a
result, raise `steps`, `train` and the number of seeds in a copy. Hypothesis: the class of a pixel
depends on its whole digit, half as high as the image, which attention or sampling offsets can
cover.
"""

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation import SegmentationAugmentation, SegmentationSpec
from quatrain.training import Polynomial, Recipe

MIXERS = ("w/o", "1111", "w/o+deformable")
SIDE, HEADS = 64, 4
SCENES = DigitScenesSpec(
    size=SIDE, train=1500, valid=50, test=300, most=2, clutter=1, lowest=0.4, highest=0.5
)


def segmentation(mixer: str) -> SegmentationSpec:
    """A segmenter small enough for one core and a minute, with the given mixer."""
    backbone = ResNetSpec(depth=18, width=8, mixer=parse_mixer(mixer, HEADS), output_stride=8)
    return SegmentationSpec(
        data=SCENES,
        model=SegmenterSpec(backbone=backbone, channels=32, norm="batch", dropout=0.0),
        augmentation=SegmentationAugmentation(smallest=1.0, largest=1.0, crop=SIDE, flip=0.0),
        recipe=Recipe(
            steps=450,
            learning_rate=1e-2,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            warmup_steps=45,
            schedule=Polynomial(power=0.9),
            clip_norm=1.0,
            report_every=10,
            checkpoint_every=100,
        ),
        batch=16,
    )


study = Study(
    title="Attention on digit scenes: segmentation",
    question="Which attention, or convolution, does a segmenter need?",
    cells=[Cell(name=mixer, group="segmenter", spec=segmentation(mixer)) for mixer in MIXERS],
    seeds=(0, 1, 2),
    metric="miou",
    margin=0.5,
    comparisons=[Comparison(left=mixer, right="w/o", group="segmenter") for mixer in MIXERS[1:]],
)
