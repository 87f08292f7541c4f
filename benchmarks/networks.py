"""Whole networks with each mixer, compared with the plain network: time and memory.

    python -m benchmarks.networks
    python -m benchmarks.networks --mixers 0010,1111+deformable --size 400x666 --rounds 3 --json

ResNet-50 on one image of 800 x 1333, float32, forward without gradients: attention and dynamic
convolution in every block of conv4 and conv5, deformable convolution in conv3 to conv5 with random
offsets of about a pixel. The row "w/o" compares the plain network with itself: the difference of
its ratios from 1 is noise. Memory is the peak above weights and image in a fresh process.

Multiply-adds are those of the backbone, in units of 10^9 (G): by the paper's convention, and as
executed by the methods that `plan` chooses.

"training" is one optimizer step of the small detector or segmenter, on a ResNet-18 of full width
and one batch in memory, compared with the same network built from torchvision's parts.
"""

import functools
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measure_rows, parse_size, run
from benchmarks.result import Result, Row
from benchmarks.vision_steps import PLAIN, step
from quatrain.cost import count_multiply_adds, peak_memory
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import parse_mixer

SIZE = "800x1333"
MIXERS = (
    "w/o,0010,0011,0100,0110,0111,1000,1111,0100@31,dynamic@31,"
    "w/o+deformable,0010+deformable,1111+deformable"
)


Arguments = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A pass of a network, and the plain network to compare it with.

    `prepare(**ours)` and `prepare(**plain)` return the functions to measure; `paper` and `executed`
    are the multiply-adds of a forward pass.
    """

    network: str
    part: str
    against: str
    prepare: Callable[..., Callable[[], object]]
    ours: Arguments
    plain: Arguments
    paper: int | None = None
    executed: int | None = None


def resnet(text: str) -> nn.Module:
    """ResNet-50 with a mixer and random deformable offsets of about a pixel, in evaluation mode."""
    torch.manual_seed(0)
    network = ResNetSpec(mixer=parse_mixer(text)).build().eval()
    for part in network.modules():
        if isinstance(part, DeformableConv):
            nn.init.kaiming_uniform_(part.offset.weight, a=1)
    return network


def forward(mixer: str, size: str, device: str) -> Callable[[], object]:
    """A function that runs one forward pass of ResNet-50 with a mixer."""
    network = resnet(mixer).to(device)
    images = torch.randn(1, 3, *parse_size("size", size)).to(device)

    def call() -> None:
        with torch.no_grad():
            network(images)
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def multiply_adds(mixer: str, size: str) -> tuple[int | None, int]:
    """Multiply-adds of ResNet-50 with a mixer: by the paper's convention, and as executed."""
    with torch.device("meta"):
        images, network = torch.empty(1, 3, *parse_size("size", size)), resnet(mixer)
    executed = count_multiply_adds(network, images)
    return executed.by_convention, executed


def forward_cases(mixers: str, size: str, device: str) -> list[Case]:
    """The forward pass of ResNet-50 with each mixer."""
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


def measure(mixers: str, size: str, rounds: int, device: str) -> Result:
    """Measure each case; all cases are built before the first measurement."""
    cases = forward_cases(mixers, size, device) + training_cases(mixers, device)
    rows = measure_rows(cases, functools.partial(_row, rounds=rounds))
    return Result.from_rows("networks", rounds=rounds, rows=rows, device=device)


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
def _memory(prepare: str, **arguments: str) -> int:
    """Peak bytes; cached, since all cases share the plain network."""
    device = arguments["device"]
    return peak_memory(f"benchmarks.networks:{prepare}", arguments, device=device)


if __name__ == "__main__":
    run(__doc__, measure, rounds=5, mixers=MIXERS, size=SIZE, device="cpu")
