"""What do the mechanisms since 2019 add to the paper's terms? On Multi30k, English to German.

    quatrain study run studies/since_2019.py --data DIR --out OUT

DIR contains train, valid and test in .en and .de. The translator, its training and the cells
without an extension are those of multi30k_terms in its group "self": their finished runs can be
copied into OUT/runs. The self-attention of encoder and decoder has the terms 1111, which have
everything, 0110, the best of the paper without E1, or 1010, which have no position; and one
extension, or none. Each is compared with the same terms without it, and 1010 with rotary positions
also with 1111: does a rotation of E1 replace both position terms?

16 cells of 3 seeds; a run takes about 10 to 20 minutes of one core.
"""

from multi30k_terms import GRID, translation

from quatrain.study import Cell, Comparison, Study

EXTENSIONS = {
    "1111": ("rope", "qknorm", "gate", "null", "table", "t5", "alibi"),
    "0110": ("gate", "null"),
    "1010": ("rope", "qknorm", "gate", "null"),
}
PAIRS = [
    *[(f"{terms} {word}", terms) for terms, words in EXTENSIONS.items() for word in words],
    ("1010 rope", "1111"),
]

study = Study(
    title="Mechanisms since 2019 on Multi30k",
    question="What do rotary positions, a norm of queries and keys, a gate, a null key, and tables "
    "of positions add to the best sets of terms in self-attention?",
    cells=[
        Cell(name=mixer, group="self", spec=translation(mixer, "1111", GRID))
        for mixer in dict.fromkeys([*EXTENSIONS, *(left for left, _ in PAIRS)])
    ],
    seeds=(0, 1, 2),
    metric="bleu",
    lower_is_better={"chrf": False},
    margin=0.5,
    comparisons=[Comparison(left=left, right=right, group="self") for left, right in PAIRS],
)
