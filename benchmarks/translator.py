"""Speed of the tiny translator beside torch.nn.Transformer of the same size.

    python -m benchmarks.translator --threads 2 --rounds 15
    python -m benchmarks.translator --json

Both have 4+4 layers, width 128, feed-forward 256, 4 heads, dropout 0.3, a tied vocabulary of 8,000,
label smoothing 0.1 and Adam, in float32. Ours attends by 1111 with relative positions in every
attention; torch's adds absolute sinusoids to the embeddings. One training step, then one beam
search, is taken on the same batch by each in turn, in one process, so that the ratio holds where
the machine's speed drifts; ratios are medians over rounds. Times depend on the machine, ratios
much less. Both decode with the same search, and keep the keys and values of every layer; those of
the source are shared by the hypotheses in ours, and copied for each in torch's. Torch's drops
attention weights while it trains, as it always does where it has dropout, which keeps it from its
fast kernel; ours never drops them, and on a CPU has a faster dropout and loss of its own: not all
that it gains in training is in its attention.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import run
from benchmarks.outcome import Outcome, Row
from benchmarks.plain_transformer import (
    DROPOUT,
    FEED_FORWARD,
    HEADS,
    LAYERS,
    VOCABULARY,
    WIDTH,
    PlainTransformer,
)
from quatrain.models.decoding import DecodingSpec, decode
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import parse_mixer
from quatrain.specs import InputError
from quatrain.tasks.translation.task import TranslationObjective

LENGTH, BEAM = 16, 5


def ours(terms: str) -> TranslationObjective:
    """Our translator under its loss."""
    mixer = parse_mixer(terms, HEADS)
    spec = TranslatorSpec(
        width=WIDTH,
        layers=LAYERS,
        feed_forward=FEED_FORWARD,
        dropout=DROPOUT,
        norm="pre",
        encoder_self=mixer,
        decoder_self=mixer,
        cross=mixer,
    )
    return TranslationObjective(spec.build(VOCABULARY), smoothing=0.1)


def stepper(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A training step."""
    adam = torch.optim.Adam(module.parameters(), lr=1e-4)

    def step() -> None:
        adam.zero_grad()
        loss().backward()
        adam.step()

    return step


def training(tokens: int) -> tuple[str, dict[str, Callable[[], None]]]:
    """A step of each on the same batch; ours comes first."""
    source = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    target = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH + 1))
    mine, plain = ours("1111"), PlainTransformer()
    return "training", {
        "quatrain 1111": stepper(mine, lambda: mine(source, target).total / tokens),
        "torch.nn.Transformer": stepper(plain, lambda: plain(source, target)),
    }


def decoding(tokens: int) -> tuple[str, dict[str, Callable[[], None]]]:
    """A beam search of each over the same sentences; tokens are those of the source."""
    source = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    search = DecodingSpec(beam=BEAM, longest=1)
    mine, plain = ours("1111").translator.eval(), PlainTransformer().eval()

    def searcher(translator: Any, sentences: Tensor) -> Callable[[], None]:
        # No token 8000 exists, so no hypothesis ends before the limit.
        return lambda: decode(translator, sentences, search, begin=1, end=VOCABULARY)

    return f"decoding, beam {BEAM}", {
        "quatrain 1111": searcher(mine, source),
        "torch.nn.Transformer with caches": searcher(plain, source),
    }


def measure(tokens: int, rounds: int) -> Outcome:
    """Median tokens a second of each, and the speed of ours as a multiple."""
    if tokens < LENGTH:
        raise InputError("tokens", tokens, f"{LENGTH} or more", "a sentence has as many")
    torch.manual_seed(0)
    rows: list[Row] = []
    for part, calls in (training(tokens), decoding(tokens)):
        seconds = alternate(calls, rounds=rounds)
        ours = next(iter(calls))
        rows += [
            {
                "part": part,
                "network": name,
                "tokens/s": tokens / statistics.median(taken),
                "speed of ours / its own": median_ratio(taken, seconds[ours]),
            }
            for name, taken in seconds.items()
        ]
    return Outcome.here("translator", rounds=rounds, rows=rows)


if __name__ == "__main__":
    run(__doc__, measure, rounds=15, tokens=4096)
