"""Extensions of attention, compared with the same terms without them: time and memory.

    python -m benchmarks.extensions
    python -m benchmarks.extensions --cases "1011 rope on a map of 64 x 64" --rounds 5 --json

A whole attention module, projections included, of 256 channels and 8 heads, batch 1, float32.
Memory is the peak of a training step above the inputs, in a fresh process.
"""

import functools
import statistics
from collections.abc import Callable

import torch

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measure_rows, run
from benchmarks.result import Result, Row
from quatrain.cost import peak_memory
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError

CHANNELS = 256
SIZES = {"a map of 64 x 64": (64, 64), "a sequence of 1024": (1024,)}
NAMES = (
    *("1000 rope", "1010 rope", "1111 rope", "1000 rope-mixed"),
    *("1010 qknorm", "1111 qknorm", "1010 gate", "0110 gate", "1111 rope qknorm gate"),
    *("1111 table", "0011 table", "0111 t5", "0011 alibi", "1111 swin", "1111 cpb"),
)
NULL_KEYS = {
    "a map of 64 x 64": ("1000 null", "1111 null", "0110 null", "0011 null"),
    "a sequence of 1024": ("1010 null",),
}
CASES = {
    f"{name} on {place}": (name, place) for place in SIZES for name in (*NAMES, *NULL_KEYS[place])
}


def prepare(name: str, place: str, device: str, *, training: bool) -> Callable[[], object]:
    """A function that runs a forward pass, or a step of training, of attention."""
    sizes = SIZES[place]
    torch.manual_seed(0)
    mixer = parse_mixer(name)
    if mixer is None:
        raise InputError(f"{name} is no attention", "cases")
    module = mixer.build(CHANNELS, len(sizes), device=device)
    shape = (1, *sizes, CHANNELS) if len(sizes) == 1 else (1, CHANNELS, *sizes)
    x = torch.randn(shape, device=device, requires_grad=training)

    def call() -> None:
        with torch.set_grad_enabled(training):
            output = module(x)
            if training:
                output.backward(output)
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def measure(cases: str, rounds: int, device: str) -> Result:
    """Measure the cases that are named, or all.

    Raises:
        InputError: if a case is unknown.
    """
    names = list(CASES) if cases == "all" else cases.split(",")
    if unknown := set(names) - CASES.keys():
        raise InputError(f"cases={min(unknown)} is unknown; use {', '.join(CASES)}", "cases")
    rows = measure_rows(names, functools.partial(_row, rounds=rounds, device=device))
    return Result.from_rows("extensions", rounds=rounds, rows=rows, device=device)


def _row(case: str, rounds: int, device: str) -> Row:
    extended, place = CASES[case]
    plain = extended.split()[0]
    seconds = {
        training: alternate(
            {name: prepare(name, place, device, training=training) for name in (plain, extended)},
            rounds=rounds,
            at_least=1.0,
        )
        for training in (False, True)
    }
    memory = {
        name: peak_memory(
            "benchmarks.extensions:prepare",
            {"name": name, "place": place, "device": device, "training": True},
            device=device,
        )
        for name in (plain, extended)
    }
    return {
        "attention": extended,
        "on": place,
        "forward ratio": median_ratio(seconds[False][extended], seconds[False][plain]),
        "training ratio": median_ratio(seconds[True][extended], seconds[True][plain]),
        "memory ratio": memory[extended] / memory[plain],
        "forward ms": 1e3 * statistics.median(seconds[False][extended]),
        "training ms": 1e3 * statistics.median(seconds[True][extended]),
    }


if __name__ == "__main__":
    run(__doc__, measure, rounds=9, cases="all", device="cpu")
