"""Training speed of the tiny translator beside torch.nn.Transformer of the same size.

    python -m benchmarks.translator --threads 2 --rounds 15
    python -m benchmarks.translator --json

Both have 4+4 layers, width 128, feed-forward 256, 4 heads, dropout 0.3, a tied vocabulary of
8,000, label smoothing 0.1 and Adam. Ours attends by 1111 with relative positions in every
attention; torch's adds absolute sinusoids to the embeddings. One step is taken on the same batch
by each in turn, in one process, so that the ratio holds where the machine's speed drifts; ratios
are medians over rounds. Times depend on the machine, ratios much less.
"""

import argparse
import json
import math
import statistics
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.alternation import alternate, median_ratio
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import parse_mixer
from quatrain.tasks.translation.task import TranslationObjective

VOCABULARY, WIDTH, LAYERS, HEADS, FEED_FORWARD, DROPOUT = 8000, 128, 4, 4, 256, 0.3
LENGTH = 16


class PlainTransformer(nn.Module):
    """torch.nn.Transformer with sinusoids, as a user would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        shape = (WIDTH, HEADS, LAYERS, LAYERS, FEED_FORWARD, DROPOUT)
        with warnings.catch_warnings():
            # torch says that nested tensors are not used with norm_first; nobody asked for them
            warnings.simplefilter("ignore", UserWarning)
            self.body = nn.Transformer(*shape, batch_first=True, norm_first=True)
        angle = torch.arange(256)[:, None] * torch.exp(
            torch.arange(0, WIDTH, 2) * -(math.log(10_000) / WIDTH)
        )
        self.register_buffer("positions", torch.stack((angle.sin(), angle.cos()), -1).flatten(1))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """The loss of the next target token."""
        entering, wanted = target[:, :-1], target[:, 1:]
        future = nn.Transformer.generate_square_subsequent_mask(entering.shape[1], dtype=torch.bool)
        hidden = self.body(
            self._embed(source),
            self._embed(entering),
            tgt_mask=future,
            src_key_padding_mask=source == 0,
            memory_key_padding_mask=source == 0,
        )
        logits = (hidden @ self.embedding.weight.T).float()
        return cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=0, label_smoothing=0.1
        )

    def _embed(self, tokens: Tensor) -> Tensor:
        scaled = self.embedding(tokens) * WIDTH**0.5
        return self.dropout(scaled + self.positions[: tokens.shape[1]])


def ours(terms: str) -> nn.Module:
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


def stepper(
    module: nn.Module, loss: Callable[[], Tensor], context: AbstractContextManager[object]
) -> Callable[[], None]:
    """A training step."""
    adam = torch.optim.Adam(module.parameters(), lr=1e-4)

    def step() -> None:
        with context:
            value = loss()
        adam.zero_grad()
        value.backward()
        adam.step()

    return step


def measure(tokens: int, rounds: int) -> dict[str, object]:
    """Median target tokens a second of each, and median ratios of ours to each other."""
    torch.manual_seed(0)
    source = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    target = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH + 1))
    mine, plain, mixed = ours("1111"), PlainTransformer(), PlainTransformer()
    steps = {
        "quatrain 1111, float32": stepper(
            mine, lambda: mine(source, target).total / tokens, nullcontext()
        ),
        "torch.nn.Transformer, float32": stepper(
            plain, lambda: plain(source, target), nullcontext()
        ),
        "torch.nn.Transformer, bfloat16": stepper(
            mixed, lambda: mixed(source, target), torch.autocast("cpu", torch.bfloat16)
        ),
    }
    seconds = alternate(steps, rounds=rounds)
    first, *others = steps
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "tokens in a batch": tokens,
        "tokens per second": {n: tokens / statistics.median(s) for n, s in seconds.items()},
        f"speed of {first}, as a ratio to": {
            name: median_ratio(seconds[name], seconds[first]) for name in others
        },
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(given.tokens, given.rounds)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for each, number in value.items():
                print(f"  {each:32} {number:10.2f}")
        else:
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
