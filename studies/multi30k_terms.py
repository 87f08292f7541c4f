"""Which attention terms, or convolutions, does a translator need? On Multi30k, English to German.

    quatrain study run studies/multi30k_terms.py --data DIR --out OUT

DIR contains train, valid and test in .en and .de. The groups can be run separately:

    --cells "one hour/*"  one 1111 model, trained for about an hour on 2 cores
                          (--jobs 1 --threads 2, on an otherwise idle machine).
    --cells "self/*"      self-attention varies in encoder and decoder, encoder-decoder attention
                          is 1111: all 16 term sets, and w/o; 9 to 65 minutes of one core per run,
                          median 20.
    --cells "cross/*"     encoder-decoder attention varies, self-attention is 1111: all 16 term
                          sets (without the module a translator cannot read its source).
    --cells "deformable/*"  self-attention: deformable convolution with, or instead of, E2.
    --cells "gated deformable/*"  the same with a factor on the attention over the convolution,
                            learned from zero, as in the paper's networks for images.
    --cells "dynamic/*"     self-attention: dynamic convolution and E2 within the same window.

The hour is 36 epochs, a run of the other groups 5.5. These have 43 different cells of 3 seeds. 31
comparisons are with 1111 of the same seed, eight between pairs of the last three groups.

Reports show the paper's difference on WMT14 for each comparison that it has (arXiv 1904.05873,
figure 3 c and d, read off the figure, and table 2): in self-attention 0110 is within 0.1 BLEU of
1111 and w/o loses 6.8; in encoder-decoder attention 1000 equals 1111, and without E1 the best lose
0.75; deformable convolution is on par with E2, and so is dynamic convolution with windows of 13 to
31.
"""

from collections.abc import Iterable, Mapping

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.published import gain
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.translation import ParallelTextSpec, TranslationSpec, VocabularySpec
from quatrain.training import Polynomial, Recipe

CROSS = tuple(str(terms) for terms in ALL_TERM_SETS)
SELF = ("w/o", *CROSS)
DEFORMABLE = {"w/o+deformable": "0100", "0010+deformable": "0110", "1111+deformable": "1111"}
GATED = {mixer: terms for mixer, terms in DEFORMABLE.items() if not mixer.startswith("w/o")}
DYNAMIC = {f"dynamic@{window}": f"0100@{window}" for window in (3, 7, 15)}
HEADS = 4


def translation(
    self_attention: str, cross: str, recipe: Recipe, *, gated: bool = False
) -> TranslationSpec:
    """The "tiny" translator with the given terms; `gated` scales attention over a convolution."""
    mixer = parse_mixer(self_attention, HEADS)
    if gated and isinstance(mixer, AttendedSpec):
        mixer = mixer.model_copy(update={"gated": True})
    return TranslationSpec(
        data=ParallelTextSpec(),
        vocabulary=VocabularySpec(size=8000),
        model=TranslatorSpec(
            width=128,
            layers=4,
            feed_forward=256,
            dropout=0.3,
            norm="pre",
            encoder_self=mixer,
            decoder_self=mixer,
            cross=parse_mixer(cross, HEADS),
        ),
        recipe=recipe,
        decoding=DecodingSpec(beam=5, length_penalty=1.0),
        batch_tokens=2048,
    )


def recipe(steps: int, warmup: int, monitor_every: int) -> Recipe:
    """Adam with a linear warm-up and a linear decay to zero."""
    return Recipe(
        steps=steps,
        learning_rate=4e-3,
        warmup_steps=warmup,
        schedule=Polynomial(power=1.0),
        clip_norm=1.0,
        average=0.995,
        report_every=25,
        monitor_every=monitor_every,
        checkpoint_every=100,
    )


def differences(group: str, table: str, pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
    """A comparison of each (left, right) pair, with the paper's difference."""
    return [
        Comparison(
            left=left,
            right=right,
            group=group,
            published=gain(left, right, (table,), "translation"),
        )
        for left, right in pairs
    ]


def against_1111(cells: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of 1111 and each of the others."""
    return [("1111", terms) for terms in cells if terms != "1111"]


def both_sides(pairs: Mapping[str, str]) -> list[str]:
    """The distinct mixers of the pairs."""
    return list(dict.fromkeys([*pairs, *pairs.values()]))


HOUR = recipe(steps=8400, warmup=500, monitor_every=500)
GRID = recipe(steps=1300, warmup=200, monitor_every=0)

study = Study(
    title="Attention terms on Multi30k",
    question="Which attention terms does a translator need, in self-attention and in "
    "encoder-decoder attention, and what do convolutions that look at content do in their place?",
    cells=[
        Cell(name="1111", group="one hour", spec=translation("1111", "1111", HOUR), seeds=(0,)),
        *[Cell(name=t, group="self", spec=translation(t, "1111", GRID)) for t in SELF],
        *[Cell(name=t, group="cross", spec=translation("1111", t, GRID)) for t in CROSS],
        *[
            Cell(name=mixer, group=group, spec=translation(mixer, "1111", GRID, gated=gated))
            for group, pairs, gated in (
                ("deformable", DEFORMABLE, False),
                ("gated deformable", GATED, True),
                ("dynamic", DYNAMIC, False),
            )
            for mixer in both_sides(pairs)
        ],
    ],
    seeds=(0, 1, 2),
    metric="bleu",
    lower_is_better={"chrf": False},
    margin=0.5,
    comparisons=[
        *differences("self", "figure-3c", against_1111(SELF)),
        *differences("cross", "figure-3d", against_1111(CROSS)),
        *differences("deformable", "table-2", DEFORMABLE.items()),
        *differences("gated deformable", "table-2", GATED.items()),
        *differences("dynamic", "table-3", DYNAMIC.items()),
    ],
)
