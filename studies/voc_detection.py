"""Which attention terms help a small detector? On your images, annotated as Pascal VOC.

    quatrain study plan studies/voc_detection.py --data DIR
    quatrain study run studies/voc_detection.py --data DIR

DIR has Annotations, JPEGImages and the lists ImageSets/Main/train.txt and val.txt; for VOC 2007
and 2012 as they are unpacked, use `VOC0712` of `quatrain.tasks.detection` as DATA. A ResNet-18 of
half width with a feature pyramid is trained from scratch on images of 320 pixels, five cells with
three seeds; `quatrain study plan --estimate` estimates the time. Scores are of the validation part.
"""

from quatrain.nn import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import VocSpec, small_detection

DATA = VocSpec(test="val")  # for classes of your own: VocSpec(test="val", classes=("cat", "dog"))
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
