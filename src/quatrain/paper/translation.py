"""The cost of translation in figure 3 (c, d) and tables 2 and 3, from our translator at base size.

One encoder layer and one decoder layer of each configuration are built on the meta device and
counted twice: in the paper's convention, and as executed by our methods. The network costs that
times the number of layers. Embeddings and the projection to the vocabulary are left out, as in the
paper. Nothing is taken from the published costs: w/o is 1.744, where the paper plots 1.748.
"""

import functools
from dataclasses import dataclass

import torch

from quatrain.cost import count_multiply_adds
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.ops import counts
from quatrain.paper.published import Point, configurations

TOKENS = 50
"""Number of source tokens, and of target tokens, of the sentence pair in the paper's costs."""
TABLES = ("figure-3c", "figure-3d", "table-2", "table-3")


@dataclass(frozen=True)
class CostRow:
    """Giga multiply-adds of one configuration; `note` comments on the published number."""

    table: str
    config: str
    published: float
    computed: float
    executed: float
    note: str


def cost_rows() -> list[CostRow]:
    """A row for every configuration of figure 3 (c) and (d) and of tables 2 and 3.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 3 (c) and (d), tables 2, 3.
    """
    return [cost_row(point) for table in TABLES for point in configurations(table, "translation")]


def cost_row(point: Point) -> CostRow:
    """The costs of one configuration."""
    # Frozen specs are hashable, which the type checker does not see.
    computed, executed = _costs(translator_spec(point))  # pyright: ignore[reportArgumentType]
    return CostRow(
        table=point.table,
        config=point.config,
        published=point.giga_multiply_adds,
        computed=computed / 1e9,
        executed=executed / 1e9,
        note=point.note,
    )


def translator_spec(point: Point) -> TranslatorSpec:
    """The network of a published configuration; other attention modules are 1111."""
    mixer = parse_mixer(point.config)
    if point.table == "figure-3d" and isinstance(mixer, AttentionSpec):
        return TranslatorSpec(cross=mixer)
    return TranslatorSpec(encoder_self=mixer, decoder_self=mixer)


@functools.cache
def _costs(spec: TranslatorSpec) -> tuple[int, int]:
    """The cost in the paper's convention, and as executed; tables share configurations."""
    with torch.device("meta"):
        translator = spec.model_copy(update={"layers": 1}).build(vocabulary=1)
        tokens = torch.zeros(1, TOKENS, dtype=torch.long)
    projection = counts.linear(TOKENS, spec.width, 1)  # to the vocabulary of one token
    executed = count_multiply_adds(translator, tokens, tokens)
    by_convention = executed.by_convention
    assert by_convention is not None  # noqa: S101 - the paper has every mixer of its tables
    return spec.layers * (by_convention - projection), spec.layers * (executed - projection)
