"""The paper's translation study at its own scale: figure 3 (c) and (d), WMT14 English to German.

    quatrain study plan studies/paper_wmt14.py --data WMT14 --out OUT
    quatrain study run  studies/paper_wmt14.py --data WMT14 --out OUT --device cuda

WMT14 contains the files of the 2014 shared task under their standard names: europarl-v7.de-en,
commoncrawl.de-en, news-commentary-v9.de-en, newstest2013 and newstest2014, in .en and .de.

Settings: arXiv 1904.05873, section 4.1: Transformer base with relative positions, joint vocabulary
of 37,000, 100,000 steps of about 30,000 tokens per side, Adam(0.9, 0.98, 1e-9), learning rate from
1e-7 to 1e-3 in 4,000 steps, then decaying with the inverse square root, label smoothing 0.1, no
weight decay. Settings that the paper does not give (dropout 0.1, beam 4, length penalty 0.6) are
those of Vaswani et al. 2017, arXiv 1706.03762, section 6.1; the weights are an exponential moving
average instead of the mean of five checkpoints.
Expected, in BLEU of the paper's tokenization: self-attention from 20.9 (w/o) to 27.7 (1111),
encoder-decoder attention from 19.7 (0010) to 27.7 (1000); `quatrain cost paper --task translation`
lists all points.
"""

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.translation import WMT14, TranslationSpec, VocabularySpec
from quatrain.training import Recipe

TERMS = tuple(str(terms) for terms in ALL_TERM_SETS if terms)


def translation(self_attention: str, cross: str) -> TranslationSpec:
    """Transformer base with the given terms."""
    mixer = parse_mixer(self_attention)
    return TranslationSpec(
        data=WMT14,
        vocabulary=VocabularySpec(size=37_000),
        model=TranslatorSpec(encoder_self=mixer, decoder_self=mixer, cross=parse_mixer(cross)),
        recipe=Recipe(average=0.999, accumulate=8, precision="bfloat16"),
        decoding=DecodingSpec(beam=4, length_penalty=0.6),
        batch_tokens=3_750,
    )


study = Study(
    title="Attention terms on WMT14 English-German, as published",
    question="Which attention terms does a translator need, at the scale of the paper?",
    cells=[
        *[
            Cell(name=t, group="figure 3 c: self", spec=translation(t, "1111"))
            for t in ("w/o", *TERMS)
        ],
        *[
            Cell(name=t, group="figure 3 d: encoder-decoder", spec=translation("1111", t))
            for t in TERMS
        ],
    ],
    seeds=(0,),
    metric="bleu",
    margin=0.5,
    comparisons=[
        Comparison(left="1111", right="0110", group="figure 3 c: self"),
        Comparison(left="0011", right="w/o", group="figure 3 c: self"),
        Comparison(left="1000", right="0110", group="figure 3 d: encoder-decoder"),
        Comparison(left="1000", right="1111", group="figure 3 d: encoder-decoder"),
    ],
)
