"""Beam search with a translator, one token at a time, from its decoding state.

    hypotheses = decode(translator, source, DecodingSpec(beam=5), begin=1, end=2)

Greedy decoding is a beam of 1. Sentences of a batch are searched independently, so results do not
depend on the batch size.

Shapes: b sentences, n beam, s source tokens, v vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from quatrain.models.translator import PADDING
from quatrain.specs import InputError, Spec


@runtime_checkable
class SearchState(Protocol):
    """Decoding state of a translator, with several rows (hypotheses) per source."""

    def expand(self, beam: int) -> "SearchState":
        """The state with `beam` rows per source; before the first token only."""
        ...

    def select(self, sources: Int[Tensor, " n"]) -> "SearchState":
        """The state of the chosen sources, in that order, with all of their rows."""
        ...

    def reorder(self, rows: Int[Tensor, " b"]) -> "SearchState":
        """The state after replacing each row by another of the same source."""
        ...


@runtime_checkable
class StepwiseTranslator(Protocol):
    """The interface of a translator that `decode` needs."""

    training: bool

    def start(self, source: Int[Tensor, "b s"]) -> SearchState:
        """The state before the first token."""
        ...

    def step(
        self, tokens: Int[Tensor, " b"], state: Any
    ) -> tuple[Float[Tensor, "b v"], SearchState]:
        """Logits of the token after `tokens`, and the next state."""
        ...


class DecodingSpec(Spec):
    """Beam search.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 6.1.
    """

    beam: int = Field(default=4, ge=1)
    """Hypotheses per sentence; 1 is greedy decoding."""
    length_penalty: float = Field(default=0.6, ge=0)
    """Exponent a of the length normalization ((5 + length) / 6) ** a."""
    longest: int = Field(default=50, ge=1)
    """Maximum length of a hypothesis, in tokens more than its source."""


@dataclass
class _Search:
    """Running and finished hypotheses of the sentences whose search is not finished."""

    tokens: Int[Tensor, "b n t"]
    scores: Float[Tensor, "b n"]
    best: list[list[int]]
    best_scores: Float[Tensor, " b"]
    finished: Int[Tensor, " b"]


@torch.no_grad()
def decode(
    translator: StepwiseTranslator,
    source: Int[Tensor, "b s"],
    spec: DecodingSpec,
    begin: int,
    end: int,
) -> list[list[int]]:
    """The best hypothesis of each sentence, without `begin` and `end`.

    Each step ranks all continuations of a sentence's running hypotheses. Those among the first
    `beam` that end are finished; the first `beam` that do not end continue. A search ends when
    `beam` hypotheses are finished, or at the length limit. With a beam of 1 this is greedy
    decoding.

    Source: Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14 (length penalty); the
        ranking and the end as in fairseq, Ott et al. 2019, https://arxiv.org/abs/1904.01038.
    Differs: at the length limit no hypothesis is forced to end; if none is finished by then, the
        best running one is returned.
    """
    if translator.training:
        text = "the translator is in training mode, in which dropout changes the result"
        raise InputError(f"{text}; call eval() first", "translator.training")
    sentences, beam = source.shape[0], spec.beam
    limits = (source != PADDING).sum(1) + spec.longest
    state = translator.start(source).expand(beam)
    scores = torch.full((sentences, beam), -torch.inf, device=source.device)
    scores[:, 0] = 0.0
    search = _Search(
        tokens=source.new_full((sentences, beam, 1), begin),
        scores=scores,
        best=[[] for _ in range(sentences)],
        best_scores=torch.full((sentences,), -torch.inf, device=source.device),
        finished=source.new_zeros(sentences),
    )
    alive = torch.arange(sentences, device=source.device)
    hypotheses: list[list[int]] = [[] for _ in range(sentences)]
    while alive.numel():
        logits, state = translator.step(search.tokens[:, :, -1].flatten(), state)
        state = _extend(search, logits.float().log_softmax(-1), state, spec, end)
        done = (search.finished >= beam) | (search.tokens.shape[2] > limits[alive])
        for row in done.nonzero()[:, 0].tolist():
            finished = bool(search.finished[row])
            best = search.best[row] if finished else search.tokens[row, 0, 1:].tolist()
            hypotheses[int(alive[row])] = best
        search, state, alive = _select(search, state, alive, ~done)
    return hypotheses


def _extend(
    search: _Search,
    log_probabilities: Float[Tensor, "bn v"],
    state: SearchState,
    spec: DecodingSpec,
    end: int,
) -> SearchState:
    sentences, beam, length = search.tokens.shape
    vocabulary = log_probabilities.shape[-1]
    log_probabilities[:, PADDING] = -torch.inf
    totals = search.scores[:, :, None] + log_probabilities.view(sentences, beam, vocabulary)
    scores, chosen = totals.flatten(1).topk(2 * beam)
    parents, tokens = chosen // vocabulary, chosen % vocabulary
    ends = tokens == end
    normalized = scores[:, :beam] / ((5 + length) / 6) ** spec.length_penalty
    _finish(search, normalized, parents, ends[:, :beam])
    running = ends.to(torch.int8).sort(dim=1, stable=True).indices[:, :beam]
    search.scores, parents = scores.gather(1, running), parents.gather(1, running)
    prefixes = search.tokens.gather(1, parents[:, :, None].expand(-1, -1, length))
    search.tokens = torch.cat((prefixes, tokens.gather(1, running)[:, :, None]), dim=-1)
    rows = torch.arange(sentences, device=parents.device)[:, None] * beam + parents
    return state.reorder(rows.flatten())


def _finish(
    search: _Search,
    normalized: Float[Tensor, "b n"],
    parents: Int[Tensor, "b m"],
    ends: Bool[Tensor, "b n"],
) -> None:
    candidates = torch.where(ends & normalized.isfinite(), normalized, -torch.inf)
    best, at = candidates.max(-1)
    for row in (best > search.best_scores).nonzero()[:, 0].tolist():
        search.best[row] = search.tokens[row, parents[row, at[row]], 1:].tolist()
    search.best_scores = torch.maximum(search.best_scores, best)
    search.finished = search.finished + candidates.isfinite().sum(-1)


def _select(
    search: _Search, state: SearchState, alive: Int[Tensor, " b"], mask: Bool[Tensor, " b"]
) -> tuple[_Search, SearchState, Int[Tensor, " selected"]]:
    if bool(mask.all()):
        return search, state, alive
    rows = mask.nonzero()[:, 0]
    selected = _Search(
        search.tokens[rows],
        search.scores[rows],
        [search.best[row] for row in rows.tolist()],
        search.best_scores[rows],
        search.finished[rows],
    )
    return selected, state.select(rows), alive[rows]
