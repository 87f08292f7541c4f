"""Speed of the tiny translator, compared with torch.nn.Transformer of the same size.

    python -m benchmarks.translator --threads 2 --rounds 15
    python -m benchmarks.translator --json

Both have 4+4 layers, width 128, feed-forward 256, 4 heads, dropout 0.3, a tied vocabulary of 8,000,
label smoothing 0.1 and Adam, in float32. Ours uses 1111 with relative positions in every attention;
torch's adds absolute sinusoids to the embeddings. Both run on the same batch in turn, in one
process: a training step, then a beam search. Ratios are medians over rounds; times depend much more
on the machine.

Both decode with the same search and cache the keys and values of every layer. Ours shares those of
the source among the hypotheses, torch's copies them for each. Torch's applies dropout to attention
weights in training, which excludes its fast kernel; ours has none there, and has a faster dropout
and loss on a CPU, so attention is only a part of the difference in training.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import run
from benchmarks.plain_transformer import (
    DROPOUT,
    FEED_FORWARD,
    HEADS,
    LAYERS,
    VOCABULARY,
    WIDTH,
    PlainTransformer,
)
from benchmarks.result import Result, Row
from quatrain.models.decoding import DecodingSpec, decode
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import parse_mixer
from quatrain.specs import InputError
from quatrain.tasks.translation.task import TranslationObjective

LENGTH, BEAM = 16, 5


def ours(terms: str) -> TranslationObjective:
    """Our translator with its training loss."""
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


def training_step(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A function that runs one training step."""
    adam = torch.optim.Adam(module.parameters(), lr=1e-4)

    def step() -> None:
        adam.zero_grad()
        loss().backward()
        adam.step()

    return step


def training(tokens: int) -> tuple[str, dict[str, Callable[[], None]]]:
    """A training step of each on the same batch; ours is first."""
    source = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    target = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH + 1))
    mine, plain = ours("1111"), PlainTransformer()
    return "training", {
        "quatrain 1111": training_step(mine, lambda: mine(source, target).total / tokens),
        "torch.nn.Transformer": training_step(plain, lambda: plain(source, target)),
    }


def decoding(tokens: int) -> tuple[str, dict[str, Callable[[], None]]]:
    """A beam search of each over the same sentences of `tokens` source tokens in all."""
    source = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    search = DecodingSpec(beam=BEAM, longest=1)
    mine, plain = ours("1111").translator.eval(), PlainTransformer().eval()

    def searcher(translator: Any, sentences: Tensor) -> Callable[[], None]:
        # Token 8000 does not exist, so no hypothesis ends before the limit.
        return lambda: decode(translator, sentences, search, begin=1, end=VOCABULARY)

    return f"decoding, beam {BEAM}", {
        "quatrain 1111": searcher(mine, source),
        "torch.nn.Transformer with caches": searcher(plain, source),
    }


def measure(tokens: int, rounds: int) -> Result:
    """Measure median tokens per second of each, and the speed ratio of ours."""
    if tokens < LENGTH:
        raise InputError(f"tokens={tokens} is less than a sentence; use {LENGTH} or more", "tokens")
    torch.manual_seed(0)
    rows: list[Row] = []
    for part, calls in (training(tokens), decoding(tokens)):
        seconds = alternate(calls, rounds=rounds)
        ours = next(iter(calls))
        rows += [
            {
                "part": part,
                "network": name,
                "tokens/s": tokens / statistics.median(times),
                "speed of ours / its own": median_ratio(times, seconds[ours]),
            }
            for name, times in seconds.items()
        ]
    return Result.from_rows("translator", rounds=rounds, rows=rows)


if __name__ == "__main__":
    run(__doc__, measure, rounds=15, tokens=4096)
