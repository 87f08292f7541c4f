"""Which attention terms, or convolutions, does a segmenter need? On CamVid, 11 classes.

    quatrain study run studies/camvid_segmentation.py --data DIR --out OUT

DIR holds CamVid's 701 street scenes of 480 x 360 in SegNet's layout: train, val and test, their
labels in trainannot, valannot and testannot, and classes.json. Everything learns from scratch, at
half of the size. The parts can be run apart:

    --cells "plain/*"  the network without attention, trained as long as 90 minutes on 2 cores allow
                       (--seeds 0 --jobs 1 --threads 2, on an otherwise idle machine).
    --cells "grid/*"   attention in conv4 and conv5 and after the backbone, deformable convolution
                       in conv3 to conv5, at equal steps; on one H100, ten at a time, in half a
                       minute to two and a half.

The plain network sees each training image 109 times, a run of the grid 11 times: seeds tell more
about a difference than steps do. Twelve differences are taken against the same w/o of their seeds,
five more between pairs, and their intervals are not corrected for that number.

Beside each difference stands what the paper found on Cityscapes, where it did (arXiv 1904.05873,
figure 3 b, read off the figure, and table 2): w/o reaches 71.9 mIoU and loses 3.9 to 0010 and 4.8
to 1111; 0110 is within 0.1 of 1111; deformable convolution beats E2, 77.2 to 76.3. Of dynamic
convolution within a window of 7 it says nothing: within 13 it loses 2.5 to E2 (table 3).
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
