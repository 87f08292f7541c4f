"""Which attention terms, or convolutions, does a detector need? On Aquarium, 7 classes.

    quatrain study run studies/aquarium_detection.py --data DIR --out OUT

DIR contains Aquarium's images of fish, jellyfish, penguins, puffins, sharks, starfish and stingrays
in COCO's layout: 447 with boxes for training, and 127 ("val") for the final scores, which choose
nothing; the 63 of "test" are not used. Images are 320 pixels long, and networks train from scratch.
The groups can be run separately:

    --cells "plain/*"  the network without attention, trained for about 90 minutes on 2 cores
                       (--seeds 0 --jobs 1 --threads 2, on an otherwise idle machine).
    --cells "grid/*"   attention in conv4 and conv5, deformable convolution in conv3 to conv5, with
                       equal steps; two at a time, on a core each, in 32 to 58 minutes.

The plain network trains for 81 epochs, a run of the grid for 18. Twelve comparisons are with w/o,
seven between pairs.

The primary metric is AP50, of boxes that overlap by half; differences are in AP, the mean over
overlaps from 0.5 to 0.95, like the paper's. Reports show the paper's difference on COCO for each
comparison that it has (arXiv 1904.05873, figure 3 a, read off the figure, and table 2): w/o reaches
36.4, 0010 gains 1.7 and 1111 2.4; 0110 equals 1111; deformable convolution is ahead of E2, 39.9 to
38.6; with 0010 it reaches 40.8, with 1111 41.0. The paper has no dynamic convolution with a window
of 7: with 13 it loses 1.0 to E2 (table 3).
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
    margin=0.5,
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
