"""The cost of translation: figure 3 (c) and (d), from the real translator at base size.

Each configuration is built on the meta device, so nothing is allocated, and counted twice: in
the paper's convention, and as what our methods really execute. Embeddings and the projection to
the vocabulary are left out of both, as they are in the paper. The rest of the network is counted
too and not taken from the paper, since here it can be: w/o comes to 1.744 where the paper plots
1.748.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quatrain.cost import count_multiply_adds
from quatrain.models.translator import Translator, TranslatorSpec
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.transformer import FeedForward
from quatrain.paper import counting
from quatrain.paper.published import Point, points

TOKENS = 50
"""Source tokens, and target tokens, of the sentence pair that the paper's costs are for."""
_VOCABULARY = 37_000


@dataclass(frozen=True)
class CostRow:
    """Giga multiply-adds of one configuration; `note` says what is odd about the published one."""

    table: str
    config: str
    published: float
    computed: float
    executed: float
    note: str


def cost_rows() -> list[CostRow]:
    """A row for every configuration of figure 3 (c) and (d) that is built of terms.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 3 (c) and (d).
    Differs: "0010+deformable" is not among them.
    """
    return [
        _row(point)
        for table in ("figure-3c", "figure-3d")
        for point in points(table)
        if "deformable" not in point.config
    ]


def _row(point: Point) -> CostRow:
    translator = _translator(point)
    tokens = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    return CostRow(
        table=point.table,
        config=point.config,
        published=point.giga_multiply_adds,
        computed=_in_the_papers_convention(translator) / 1e9,
        executed=count_multiply_adds(_Layers(translator), tokens, tokens) / 1e9,
        note=point.note,
    )


def _translator(point: Point) -> Translator:
    mixer = parse_mixer(point.config)
    if point.table == "figure-3d" and mixer is not None:
        spec = TranslatorSpec(cross=mixer)
    else:
        spec = TranslatorSpec(encoder_self=mixer, decoder_self=mixer)
    with torch.device("meta"):
        return spec.build(vocabulary=_VOCABULARY)


def _in_the_papers_convention(translator: Translator) -> int:
    total = 0
    for part in translator.modules():
        if isinstance(part, FeedForward):
            total += counting.linears(part, TOKENS)
        elif isinstance(part, GeneralizedAttention):
            total += counting.attention(part, (TOKENS,), (TOKENS,))
    return total


class _Layers(nn.Module):
    """The translator without its projection to the vocabulary."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(
        self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t c"]:
        return self.translator.hidden(source, target)
