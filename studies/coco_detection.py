"""Which attention terms help a small detector? On your images, annotated as COCO json.

    quatrain study plan studies/coco_detection.py --data DIR
    quatrain study run studies/coco_detection.py --data DIR

DIR has annotations/instances_train.json and instances_val.json, and the images in images/train
and images/val; name other files in DATA. A ResNet-18 of half width with a feature pyramid is
trained from scratch on images of 320 pixels, five cells with three seeds. A run of 2,000 steps took
32 to 58 minutes of one core on Aquarium; `study plan --estimate` estimates it for your data.
Scores are of the validation part.
"""

from quatrain.nn import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import CocoSpec, small_detection

DATA = CocoSpec(test="val")
MIXERS = ("w/o", "0010", "0110", "1111", "w/o+deformable")
STEPS = 2000

study = Study(
    title="Attention terms in a detector",
    question="Which attention terms help a small detector, and what does a deformable convolution "
    "bring instead?",
    cells=[
        Cell(name=mixer, group="grid", spec=small_detection(parse_mixer(mixer), DATA, steps=STEPS))
        for mixer in MIXERS
    ],
    seeds=(0, 1, 2),
    metric="ap50",
    margin=1.0,
    comparisons=[
        Comparison(left=mixer, right="w/o", group="grid") for mixer in MIXERS if mixer != "w/o"
    ],
)
