"""Which attention terms does a translator need? On numerals: data that quatrain generates.

    make study    or    quatrain study run studies/numerals_terms.py --out OUT --cells "self/*"
                        --cells "encoder-decoder/*"

Eight cells and three seeds: encoder-decoder attention varies while self-attention is 1111, and
self-attention varies while encoder-decoder attention is 1111. The cell 1111 belongs to both groups
and runs once. 4 to 6 minutes on 2 cores; `make study` runs the five cells of the first three
comparisons.

    quatrain study run studies/numerals_terms.py --out OUT

also runs the complete designs with ten seeds: the groups "all self" (the 16 term sets and w/o) and
"all encoder-decoder" (the 16 term sets; without the module a translator cannot read its source).
The eight cells above are among them. 320 runs, 1 to 1.5 hours on 2 cores.

Expectation: a translator must find source words by content or by position, and German orders
numbers, dates and verbs differently from English, so encoder-decoder attention without query terms
(0010, 0011) cannot follow. Whether 0110 reaches 1000 there, and which terms self-attention needs,
is measured within 250 steps, less than one epoch: the study compares the speed of learning. Three
comparisons are fixed in advance; the complete designs add the difference of each cell to 1111.
"""

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.translation import NumeralsSpec, TranslationSpec, VocabularySpec
from quatrain.training import Polynomial, Recipe

SELF = ("w/o", "0010", "0110", "1111")
CROSS = ("0010", "0011", "0110", "1000", "1111")
TERM_SETS = tuple(str(terms) for terms in ALL_TERM_SETS)
WHOLE = {"all self": ("w/o", *TERM_SETS), "all encoder-decoder": TERM_SETS}
HEADS = 4


def translation(self_attention: str, cross: str) -> TranslationSpec:
    """A translator small enough for one core and half a minute, with the given terms."""
    mixer = parse_mixer(self_attention, HEADS)
    return TranslationSpec(
        data=NumeralsSpec(),
        vocabulary=VocabularySpec(size=800),
        model=TranslatorSpec(
            width=64,
            layers=2,
            feed_forward=128,
            dropout=0.0,
            norm="pre",
            encoder_self=mixer,
            decoder_self=mixer,
            cross=parse_mixer(cross, HEADS),
        ),
        recipe=Recipe(
            steps=250,
            learning_rate=4e-3,
            warmup_steps=40,
            schedule=Polynomial(power=1.0),
            clip_norm=1.0,
            report_every=10,
            checkpoint_every=100,
        ),
        decoding=DecodingSpec(beam=1, longest=20),
        batch_tokens=1024,
    )


def whole(group: str, terms: str) -> Cell:
    """A cell of a complete design."""
    spec = translation(terms, "1111") if group == "all self" else translation("1111", terms)
    return Cell(name=terms, group=group, spec=spec, seeds=range(10))


study = Study(
    title="Attention terms on numerals",
    question="Which attention terms does a translator need, in self-attention and in "
    "encoder-decoder attention?",
    cells=[
        *[Cell(name=t, group="encoder-decoder", spec=translation("1111", t)) for t in CROSS],
        *[Cell(name=t, group="self", spec=translation(t, "1111")) for t in SELF],
        *[whole(group, terms) for group, names in WHOLE.items() for terms in names],
    ],
    seeds=(0, 1, 2),
    metric="bleu",
    lower_is_better={"chrf": False},
    margin=0.5,
    comparisons=[
        Comparison(left="1000", right="0110", group="encoder-decoder", expect="higher"),
        Comparison(left="1000", right="0010", group="encoder-decoder", expect="higher"),
        Comparison(left="1111", right="0110", group="self", expect="equivalent"),
        *[
            Comparison(left="1111", right=terms, group=group)
            for group, names in WHOLE.items()
            for terms in names
            if terms != "1111"
        ],
    ],
)
