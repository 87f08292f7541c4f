"""Which attention terms, or convolutions, does a segmenter need? On CamVid, 11 classes.

    quatrain study run studies/camvid_segmentation.py --data DIR --out OUT

DIR contains CamVid's 701 street scenes of 480 x 360 in SegNet's layout: train, val and test, their
label maps in trainannot, valannot and testannot, and classes.json. Networks train from scratch at
half of the image size. The groups can be run separately:

    --cells "plain/*"  the network without attention, trained for about 90 minutes on 2 cores
                       (--seeds 0 --jobs 1 --threads 2, on an otherwise idle machine).
    --cells "grid/*"   attention in conv4 and conv5 and after the backbone, deformable convolution
                       in conv3 to conv5, with equal steps; on one H100, ten at a time, in half a
                       minute to two and a half.

The plain network trains for 109 epochs, a run of the grid for 11: more seeds instead of more steps.
Twelve comparisons are with w/o, five between pairs.

Reports show the paper's difference on Cityscapes for each comparison that it has (arXiv 1904.05873,
figure 3 b, read off the figure, and table 2): w/o reaches 71.9 mIoU, 0010 gains 3.9 and 1111 4.8;
0110 is within 0.1 of 1111; deformable convolution is ahead of E2, 77.2 to 76.3. The paper has no
dynamic convolution with a window of 7: with 13 it loses 2.5 to E2 (table 3).
"""

from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import gain
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.segmentation import FoldersSpec, SegmentationSpec, small_segmentation

MIXERS = (
    "w/o",
    "0010",
    "0011",
    "0100",
    "0110",
    "0111",
    "1000",
    "1111",
    "0100@7",
    "dynamic@7",
    "w/o+deformable",
    "0010+deformable",
    "1111+deformable",
)
PAIRS = (
    ("1111", "0011"),
    ("1111", "0110"),
    ("w/o+deformable", "0100"),
    ("0010+deformable", "0110"),
    ("dynamic@7", "0100@7"),
)


def segmentation(mixer: str, steps: int, monitor_every: int = 0) -> SegmentationSpec:
    """The small segmenter with the given mixer."""
    return small_segmentation(
        parse_mixer(mixer), FoldersSpec(), steps=steps, monitor_every=monitor_every
    )


study = Study(
    title="Attention terms on CamVid",
    question="Which attention terms does a segmenter need, and what does deformable or dynamic "
    "convolution do in their place?",
    cells=[
        Cell(name="w/o", group="plain", spec=segmentation("w/o", steps=5000, monitor_every=500)),
        *[Cell(name=mixer, group="grid", spec=segmentation(mixer, steps=500)) for mixer in MIXERS],
    ],
    seeds=(0, 1, 2),
    metric="miou",
    margin=0.5,
    comparisons=[
        Comparison(
            left=left,
            right=right,
            group="grid",
            published=gain(left, right, ("table-2", "figure-3b"), "segmentation"),
        )
        for left, right in (*((mixer, "w/o") for mixer in MIXERS if mixer != "w/o"), *PAIRS)
    ],
)
