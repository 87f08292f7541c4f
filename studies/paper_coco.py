"""The paper's detection study at its own scale: figure 3 (a), tables 2 and 3, COCO.

    quatrain study plan studies/paper_coco.py --data COCO --out OUT
    quatrain study run  studies/paper_coco.py --data COCO --out OUT --device cuda --num-workers 8

COCO contains annotations, train2017 and val2017 as unpacked. The ImageNet weights of the backbone
are torchvision's, downloaded once.

Settings: arXiv 1904.05873, section 4.1, and those that it shares with mmdetection: Faster R-CNN
with a feature pyramid on ResNet-50, the first stage and all batch statistics frozen, with trainable
factors and shifts; attention in the last two stages, deformable convolution in conv3 to conv5;
images of 800 x 1333, flips; 16 images per step, 12 epochs, SGD with momentum 0.9 and weight decay
1e-4, learning rate 0.02 divided by ten at epochs 8 and 11, 500 steps of warm-up, gradients clipped
at 35. One GPU accumulates a step over eight batches of 2 images. With several GPUs, repeat the
command with --device cuda:0, cuda:1 and so on: they share the runs. Training is in bfloat16, except
for coordinates.
Expected, in mAP of val2017: from 36.4 (w/o) to 41.0 (1111+deformable);
`quatrain cost paper --task detection` lists all points.
"""

from quatrain.models.detector import DetectorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import configurations, gain, pairs
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.detection import COCO2017, DetectionSpec

TABLES = {"figure 3 a": "figure-3a", "table 2": "table-2", "table 3": "table-3"}
BATCHES = 8


def detection(mixer: str) -> DetectionSpec:
    """The paper's detector with the given mixer."""
    spec = DetectionSpec(data=COCO2017)
    model: DetectorSpec = spec.model
    backbone = model.backbone.model_copy(
        update={"mixer": parse_mixer(mixer), "weights": "IMAGENET1K_V1"}
    )
    recipe = spec.recipe.model_copy(update={"precision": "bfloat16", "accumulate": BATCHES})
    return spec.model_copy(
        update={
            "model": model.model_copy(update={"backbone": backbone}),
            "recipe": recipe,
            "batch": spec.batch // BATCHES,
        }
    )


study = Study(
    title="Attention terms on COCO, as published",
    question="Which attention terms does a detector need, at the scale of the paper?",
    cells=[
        Cell(name=point.config, group=group, spec=detection(point.config))
        for group, table in TABLES.items()
        for point in configurations(table, "detection")
    ],
    seeds=(0,),
    metric="ap",
    margin=0.5,
    comparisons=[
        Comparison(
            left=pair.left,
            right=pair.right,
            group=group,
            published=gain(pair.left, pair.right, (table,), "detection"),
        )
        for group, table in TABLES.items()
        for pair in pairs(table, "detection")
    ],
)
