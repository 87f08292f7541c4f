"""Whole networks with each mixer in its place, beside the plain network: time and memory.

    python -m benchmarks.networks
    python -m benchmarks.networks --mixers 0010,1111+deformable --size 400x666 --rounds 3 --json

ResNet-50 on one image of 800 x 1333, float32, forward without gradients: attention and dynamic
convolution in every block of conv4 and conv5, deformable convolution in conv3 to conv5, its taps
sent away by about a pixel. The row "w/o" is the plain network against itself: what its ratios miss
of 1 is noise. Memory is the peak above weights and image in a fresh process.

Multiply-adds are of the backbone, in units of 10^9 (G): in the paper's convention, and as executed
by the methods that `plan` chooses.

"training" is one optimizer step of the small detector or segmenter, on a ResNet-18 of full width,
held against the same network written from torchvision's parts, on one batch that is there.
"""

import functools
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measured, run, sizes_of
from benchmarks.outcome import Outcome, Row
from benchmarks.vision_steps import PLAIN, step
from quatrain.cost import count_multiply_adds, peak_memory
from quatrain.insertion import InsertionWrapper
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import parse_mixer
from quatrain.paper import counting

SIZE = "800x1333"
MIXERS = (
    "w/o,0010,0011,0100,0110,0111,1000,1111,0100@31,dynamic@31,"
    "w/o+deformable,0010+deformable,1111+deformable"
)


Asked = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A network, a pass of it, and the plain network that it is held against.

    `prepare(**ours)` and `prepare(**plain)` give the calls to be measured; of a forward pass
    `paper` and `executed` are its multiply-adds.
    """

    network: str
    part: str
    against: str
    prepare: Callable[..., Callable[[], object]]
    ours: Asked
    plain: Asked
    paper: int | None = None
    executed: int | None = None


def residual(text: str) -> nn.Module:
    """ResNet-50 with a mixer, its deformable taps sent away by about a pixel, in evaluation."""
    torch.manual_seed(0)
    network = ResNetSpec(mixer=parse_mixer(text)).build().eval()
    for part in network.modules():
        if isinstance(part, DeformableConv):
            nn.init.kaiming_uniform_(part.offset.weight, a=1)
    return network


def forward(mixer: str, size: str, device: str) -> Callable[[], object]:
    """A forward pass of ResNet-50 with `mixer`, ready to be called."""
    network = residual(mixer).to(device)
    images = torch.randn(1, 3, *sizes_of("size", size)).to(device)

    def call() -> None:
        with torch.no_grad():
            network(images)
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def multiply_adds(mixer: str, size: str) -> tuple[int, int]:
    """Of ResNet-50 with `mixer`: in the paper's convention, and as executed."""
    with torch.device("meta"):
        images = torch.empty(1, 3, *sizes_of("size", size))
        plain, network = residual("w/o"), residual(mixer)
    added: list[int] = []
    with ExitStack() as hooks:
        for part in network.modules():
            if isinstance(part, InsertionWrapper):
                inserted: Any = part.block
                handle = inserted.mixer.register_forward_pre_hook(functools.partial(_note, added))
                hooks.callback(handle.remove)
        executed = count_multiply_adds(network, images)
    return count_multiply_adds(plain, images) + sum(added), executed


def _note(added: list[int], mixer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    added.append(counting.mixer(mixer, tuple(inputs[0].shape[2:])))


def forward_cases(mixers: str, size: str, device: str) -> list[Case]:
    """Forward of ResNet-50 with each mixer."""
    cases = []
    for mixer in mixers.split(","):
        paper, executed = multiply_adds(mixer, size)
        ours = {"mixer": mixer, "size": size, "device": device}
        plain = {**ours, "mixer": "w/o"}
        cases.append(
            Case(
                f"ResNet-50 {mixer}", "forward", "ResNet-50", forward, ours, plain, paper, executed
            )
        )
    return cases


def training_cases(mixers: str, device: str) -> list[Case]:
    """A training step of both small networks with each mixer."""
    return [
        Case(
            f"{network} {mixer}",
            "training",
            PLAIN,
            step,
            {"network": network, "mixer": mixer, "device": device},
            {"network": network, "mixer": PLAIN, "device": device},
        )
        for network in ("detector", "segmenter")
        for mixer in mixers.split(",")
    ]


def measure(mixers: str, size: str, rounds: int, device: str) -> Outcome:
    """A row for each case; all of them are made before the first is measured."""
    cases = forward_cases(mixers, size, device) + training_cases(mixers, device)
    rows = measured(cases, functools.partial(_row, rounds=rounds))
    return Outcome.here("networks", rounds=rounds, rows=rows, device=device)


def _row(case: Case, rounds: int) -> Row:
    calls = {"ours": case.prepare(**case.ours), "plain": case.prepare(**case.plain)}
    seconds = alternate(calls, rounds=rounds, warmup=1)
    calls.clear()
    memory = _memory(case.prepare.__name__, **case.ours)
    return {
        "network": case.network,
        "pass": case.part,
        "against": case.against,
        "G paper": "-" if case.paper is None else case.paper / 1e9,
        "G executed": "-" if case.executed is None else case.executed / 1e9,
        "time ratio": median_ratio(seconds["ours"], seconds["plain"]),
        "memory ratio": memory / _memory(case.prepare.__name__, **case.plain),
        "ms": 1e3 * statistics.median(seconds["ours"]),
        "MiB": memory / 2**20,
    }


@functools.cache
def _memory(prepare: str, **asked: str) -> int:
    """Bytes at the peak; the plain network is measured once for all."""
    return peak_memory(f"benchmarks.networks:{prepare}", asked, device=asked["device"])


if __name__ == "__main__":
    run(__doc__, measure, rounds=5, mixers=MIXERS, size=SIZE, device="cpu")
