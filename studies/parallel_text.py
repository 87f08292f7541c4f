"""Which attention terms does a small translator need? On your parallel text.

    quatrain study plan studies/parallel_text.py --data DIR
    quatrain study run studies/parallel_text.py --data DIR

DIR has train, valid and test in two languages, a sentence a line: train.en, train.de and so on;
name other languages in DATA. A Transformer of 4 layers and width 128 is trained from scratch, four
cells with three seeds. A run of 1,300 steps took 9 to 65 minutes of one core on Multi30k;
`quatrain study plan --estimate` estimates it for your data.
"""

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import parse_mixer
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.translation import ParallelTextSpec, TranslationSpec, VocabularySpec
from quatrain.training import Polynomial, Recipe

DATA = ParallelTextSpec(source="en", target="de")
TERMS = ("1111", "0110", "0011", "0010")
HEADS = 4
RECIPE = Recipe(
    steps=1300,
    learning_rate=4e-3,
    warmup_steps=200,
    schedule=Polynomial(power=1.0),
    clip_norm=1.0,
    average=0.995,
)


def translation(terms: str) -> TranslationSpec:
    """The translator with the given terms in its self-attention."""
    mixer = parse_mixer(terms, HEADS)
    return TranslationSpec(
        data=DATA,
        vocabulary=VocabularySpec(size=8000),
        model=TranslatorSpec(
            width=128,
            layers=4,
            feed_forward=256,
            dropout=0.3,
            norm="pre",
            encoder_self=mixer,
            decoder_self=mixer,
            cross=parse_mixer("1111", HEADS),
        ),
        recipe=RECIPE,
        decoding=DecodingSpec(beam=5, length_penalty=1.0),
        batch_tokens=2048,
    )


study = Study(
    title="Attention terms in a translator",
    question="Which attention terms does the self-attention of a small translator need?",
    cells=[Cell(name=terms, group="self", spec=translation(terms)) for terms in TERMS],
    seeds=(0, 1, 2),
    metric="bleu",
    margin=0.5,
    comparisons=[
        Comparison(left="1111", right=terms, group="self") for terms in TERMS if terms != "1111"
    ],
)
