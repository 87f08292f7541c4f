"""What do the mechanisms since 2019 add to the paper's terms? In a small classifier of digits.

    quatrain study run studies/since_2019_own_network.py --out OUT

The network, the data and the training are those of own_network. Attention with the terms 1111,
which have everything, or 0110, the best of the paper without E1, is inserted with one extension or
none, and each is compared with the same terms without it. Deformable attention, DCNv3 and DCNv4 are
compared with deformable convolution. 18 cells of 10 seeds; a run takes 2 to 10 seconds on one core.
"""

from own_network import build, evaluate, images, train

import quatrain
from quatrain.study import Comparison

EXTENSIONS = {
    "1111": (
        *("rope", "rope-mixed", "qknorm", "gate", "null"),
        *("table", "t5", "alibi", "swin", "cpb"),
    ),
    "0110": ("gate", "null"),
}
SAMPLING = ("deformable-attention", "dcnv3", "dcnv4")
PAIRS = [
    *[(f"{terms} {word}", terms) for terms, words in EXTENSIONS.items() for word in words],
    *[(mixer, "deformable") for mixer in SAMPLING],
]

study = quatrain.ablate(
    title="Mechanisms since 2019 in a classifier of digits",
    build=build,
    train=train,
    evaluate=evaluate,
    after="3",
    example=images[:1],
    mixers=[*EXTENSIONS, "deformable", *(left for left, _ in PAIRS)],
    heads=4,
    seeds=10,
    metric="accuracy",
    margin=1.0,
    comparisons=[Comparison(left=left, right=right, group="network") for left, right in PAIRS],
)

if __name__ == "__main__":
    study.run(out="runs/since_2019_own_network")
