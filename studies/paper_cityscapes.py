"""The paper's segmentation study at its own scale: figure 3 (b), tables 2 and 3, Cityscapes.

    quatrain study plan studies/paper_cityscapes.py --data CITYSCAPES --out OUT
    quatrain study run  studies/paper_cityscapes.py --data CITYSCAPES --out OUT --device cuda

CITYSCAPES contains leftImg8bit and gtFine as unpacked. The ImageNet weights of the backbone are
torchvision's, downloaded once.

Settings: arXiv 1904.05873, section 4.1: ResNet-50 of output stride 8, the mixer in its last two
stages and one more, of 512 channels, after it; scales of 0.7 to 2.0, crops of 769 x 769, flips; 8
images per step for 60,000 steps, SGD with momentum 0.9 and weight decay 1e-4, learning rate 0.005
with polynomial decay of power 0.9. Deformable convolution is in conv3 to conv5, as in the released
settings. Settings that the paper does not give (auxiliary loss 0.4, dropout 0.1, inference on tiles
of 769 that overlap by a third) are CCNet's, arXiv 1811.11721; training is in bfloat16.
Expected, in mIoU of the validation part: from 71.9 (w/o) to 77.8 (1111+deformable);
`quatrain cost paper --task segmentation` lists all points.
"""

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import configurations, gain, pairs
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.segmentation import CityscapesSpec, SegmentationSpec, TilesSpec

TABLES = {"figure 3 b": "figure-3b", "table 2": "table-2", "table 3": "table-3"}


def segmentation(mixer: str) -> SegmentationSpec:
    """The paper's segmenter with the given mixer."""
    spec = SegmentationSpec(
        data=CityscapesSpec(),
        model=SegmenterSpec(
            backbone=ResNetSpec(output_stride=8, mixer=parse_mixer(mixer), weights="IMAGENET1K_V1")
        ),
        testing=TilesSpec(),
    )
    recipe = spec.recipe.model_copy(update={"precision": "bfloat16"})
    return spec.model_copy(update={"recipe": recipe})


study = Study(
    title="Attention terms on Cityscapes, as published",
    question="Which attention terms does a segmenter need, at the scale of the paper?",
    cells=[
        Cell(name=point.config, group=group, spec=segmentation(point.config))
        for group, table in TABLES.items()
        for point in configurations(table, "segmentation")
    ],
    seeds=(0,),
    metric="miou",
    margin=0.5,
    comparisons=[
        Comparison(
            left=pair.left,
            right=pair.right,
            group=group,
            published=gain(pair.left, pair.right, (table,), "segmentation"),
        )
        for group, table in TABLES.items()
        for pair in pairs(table, "segmentation")
    ],
)
