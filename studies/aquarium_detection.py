"""Which attention terms, or convolutions, does a detector need? On Aquarium, 7 classes.

    quatrain study run studies/aquarium_detection.py --data DIR --out OUT

DIR holds Aquarium's images of fish, jellyfish, penguins, puffins, sharks, starfish and stingrays in
COCO's layout: 447 with boxes to learn from, and 127, those of "val", that are scored at the end;
nothing is chosen by them, and the 63 of "test" are not used. Images are 320 pixels long, and
everything learns from scratch. The parts can be run apart:

    --cells "plain/*"  the network without attention, trained as long as 90 minutes on 2 cores allow
                       (--seeds 0 --jobs 1 --threads 2, on an otherwise idle machine).
    --cells "grid/*"   attention in conv4 and conv5, deformable convolution in conv3 to conv5, at
                       equal steps; two at a time, on a core each, in 32 to 58 minutes.

The plain network sees each training image 81 times, a run of the grid 18 times. Twelve differences
are taken against the same w/o of their seeds, seven more between pairs, and their intervals are not
corrected for that number.

Cells are told in AP50, of boxes that overlap by half; differences in AP, the mean over overlaps
from 0.5 to 0.95, as the paper's are. Beside each stands what it found on COCO, where it did (arXiv
1904.05873, figure 3 a, read off the figure, and table 2): w/o reaches 36.4 and loses 1.7 to 0010
and 2.4 to 1111; 0110 equals 1111; deformable convolution beats E2, 39.9 to 38.6, and 0010 beside
it, 40.8, is nearly 1111 beside it, 41.0. Of a window of 7 it says nothing: within 13, dynamic
convolution loses 1.0 to E2 (table 3).
"""

from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import gain
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import CocoSpec, DetectionSpec, small_detection

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
    ("1111", "0111"),
    ("1111", "0110"),
    ("w/o+deformable", "0100"),
    ("0010+deformable", "0110"),
    ("1111+deformable", "0010+deformable"),
    ("dynamic@7", "0100@7"),
)
DATA = CocoSpec(test="val")


def detection(mixer: str, steps: int, monitor_every: int = 0) -> DetectionSpec:
    """The small detector with the given mixer."""
    return small_detection(parse_mixer(mixer), DATA, steps=steps, monitor_every=monitor_every)


study = Study(
    title="Attention terms on Aquarium",
    question="Which attention terms does a detector need, and what does deformable or dynamic "
    "convolution do in their place?",
    cells=[
        Cell(name="w/o", group="plain", spec=detection("w/o", steps=9000, monitor_every=900)),
        *[Cell(name=mixer, group="grid", spec=detection(mixer, steps=2000)) for mixer in MIXERS],
    ],
    seeds=(0, 1, 2),
    metric="ap50",
    compared_in="ap",
    comparisons=[
        Comparison(
            left=left,
            right=right,
            group="grid",
            published=gain(left, right, ("table-2", "figure-3a"), "detection"),
        )
        for left, right in (*((mixer, "w/o") for mixer in MIXERS if mixer != "w/o"), *PAIRS)
    ],
)
