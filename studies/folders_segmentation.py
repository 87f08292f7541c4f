"""Which attention terms help a small segmenter? On your images and label maps in folders.

    quatrain study plan studies/folders_segmentation.py --data DIR
    quatrain study run studies/folders_segmentation.py --data DIR

DIR has images in train and val, their label maps of equal names in trainannot and valannot, and
classes.json with the names and colours of the classes; name other folders in DATA. A ResNet-18 of
half width is trained from scratch at half the size of the images, five cells with three seeds;
`quatrain study plan --estimate` estimates the time. Scores are of the validation part.
"""

from quatrain.nn import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.segmentation import FoldersSpec, small_segmentation

DATA = FoldersSpec(test="val")
MIXERS = ("w/o", "0010", "0110", "1111", "w/o+deformable")
STEPS = 500

study = Study(
    title="Attention terms in a segmenter",
    question="Which attention terms help a small segmenter, and what does a deformable convolution "
    "bring instead?",
    cells=[
        Cell(
            name=mixer, group="grid", spec=small_segmentation(parse_mixer(mixer), DATA, steps=STEPS)
        )
        for mixer in MIXERS
    ],
    seeds=(0, 1, 2),
    metric="miou",
    margin=0.5,
    comparisons=[
        Comparison(left=mixer, right="w/o", group="grid") for mixer in MIXERS if mixer != "w/o"
    ],
)
