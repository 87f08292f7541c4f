"""Deformable and dynamic mixers, compared with other implementations: time and memory.

    python -m benchmarks.mixers
    python -m benchmarks.mixers --rounds 5 --json

Forward and backward, float32, unless the case says "forward". Deformable convolution, by the
default method, is compared with torchvision's operator; dynamic convolution with the unfold
formulation, which copies every window; the sum of deformable attention and DCNv3 with torch's
`grid_sample` of each level, which stores every sample, as libraries without a kernel do. Memory is
the peak above the inputs in a fresh process.
"""

import functools
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad, unfold
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measure_rows, run
from benchmarks.result import Result, Row
from quatrain.cost import peak_memory
from quatrain.ops.deform import choose_method, deform_conv2d
from quatrain.ops.dynamic import dynamic_conv1d, dynamic_conv2d
from quatrain.ops.sampled_sum import sampled_sum

LEVELS = [[50, 84], [25, 42], [13, 21], [7, 11]]
_ENCODER = {"kind": "sampled", "batch": 1, "channels": 256, "sizes": LEVELS, "window": 4}
_ONE_MAP = {"kind": "sampled", "batch": 2, "channels": 256, "sizes": [[50, 84]], "window": 4}
CASES: dict[str, dict[str, Any]] = {
    "deformable, 256 channels, 50 x 84, batch 2, 3 x 3": {
        "kind": "deformable", "batch": 2, "channels": 256, "sizes": [50, 84], "window": 3,
    },
    "modulated, 256 channels, 50 x 84, batch 2, 3 x 3": {
        "kind": "modulated", "batch": 2, "channels": 256, "sizes": [50, 84], "window": 3,
    },
    "dynamic, 512 channels, length 512, batch 32, window 31": {
        "kind": "dynamic", "batch": 32, "channels": 512, "sizes": [512], "window": 31,
    },
    "dynamic, 256 channels, 96 x 96, batch 1, window 13 x 13": {
        "kind": "dynamic", "batch": 1, "channels": 256, "sizes": [96, 96], "window": 13,
    },
    "multi-scale deformable attention, 256 channels, 4 levels from 50 x 84, forward": {
        **_ENCODER, "training": False,
    },
    "multi-scale deformable attention, 256 channels, 4 levels from 50 x 84": _ENCODER,
    "deformable attention, 256 channels, 50 x 84, batch 2, forward": {
        **_ONE_MAP, "training": False,
    },
    "deformable attention, 256 channels, 50 x 84, batch 2": _ONE_MAP,
    "DCNv3, 256 channels, 50 x 84, batch 2, 3 x 3": {**_ONE_MAP, "window": 9, "heads": 16},
}  # fmt: skip
GROUPS = 16
BASELINES = {"dynamic": ("unfold", "ours"), "sampled": ("grid_sample", "ours")}


def prepare(
    method: str,
    kind: str,
    batch: int,
    channels: int,
    sizes: list[Any],
    window: int,
    device: str,
    *,
    heads: int = 8,
    training: bool = True,
) -> Callable[[], object]:
    """A function that runs one forward and, in training, backward pass with a method."""
    torch.manual_seed(0)
    if kind == "sampled":
        forward, leaves = _sampled(method, batch, channels, sizes, window, heads, device)
    elif kind == "dynamic":
        forward, leaves = _dynamic(method, batch, channels, sizes, window, device)
    else:
        forward, leaves = _deformable(method, kind, batch, channels, sizes, window, device)
    gradient = torch.randn_like(forward().detach())

    def call() -> None:
        with torch.set_grad_enabled(training):
            output = forward()
        if training:
            torch.autograd.grad(output, leaves, gradient)
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def _deformable(
    method: str,
    kind: str,
    batch: int,
    channels: int,
    sizes: list[int],
    window: int,
    device: str,
) -> tuple[Callable[[], Tensor], list[Tensor]]:
    taps = window**2
    x = torch.randn(batch, channels, *sizes, device=device, requires_grad=True)
    weight = torch.randn(channels, channels, window, window, device=device) * 0.01
    offset = torch.randn(batch, 2 * taps, *sizes, device=device, requires_grad=True)
    leaves, modulation = [x, weight.requires_grad_(), offset], None
    if kind == "modulated":
        modulation = torch.rand(batch, taps, *sizes, device=device, requires_grad=True)
        leaves.append(modulation)
    padding = window // 2
    if method == "torchvision":
        return lambda: torchvision_deform_conv2d(
            x, offset, weight, padding=padding, mask=modulation
        ), leaves
    return lambda: deform_conv2d(
        x, offset, weight, padding=padding, modulation=modulation, method=method
    ), leaves


def _dynamic(
    method: str, batch: int, channels: int, sizes: list[int], window: int, device: str
) -> tuple[Callable[[], Tensor], list[Tensor]]:
    if len(sizes) == 1:
        x = torch.randn(batch, *sizes, channels, device=device, requires_grad=True)
        logits = torch.randn(batch, *sizes, GROUPS, window, device=device)
        ours, theirs = dynamic_conv1d, unfolded1d
    else:
        x = torch.randn(batch, channels, *sizes, device=device, requires_grad=True)
        logits = torch.randn(batch, *sizes, GROUPS, window, window, device=device)
        ours, theirs = dynamic_conv2d, unfolded2d
    weights = logits.flatten(-len(sizes)).softmax(-1).view_as(logits).requires_grad_()
    del logits
    function = ours if method == "ours" else theirs
    return lambda: function(x, weights), [x, weights]


def _sampled(
    method: str,
    batch: int,
    channels: int,
    sizes: list[list[int]],
    points: int,
    heads: int,
    device: str,
) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Every position of every level is a query, which reads all levels near its place."""
    length = sum(map(math.prod, sizes))
    value = torch.randn(batch, length, heads, channels // heads, device=device)
    centers = [
        torch.cartesian_prod(*((torch.arange(size) + 0.5) / size for size in level))
        for level in sizes
    ]
    queries = torch.cat(centers).to(device)[None, :, None, None, None]
    shape = (batch, length, heads, len(sizes), points)
    extent = torch.tensor(sizes, device=device)[:, None]
    locations = queries + 2 * torch.randn(*shape, 2, device=device) / extent
    weights = torch.randn(shape, device=device).flatten(3).softmax(-1).view(shape)
    if method != "ours":  # x before y
        locations = locations.flip(-1)
    leaves = [x.requires_grad_() for x in (value, locations, weights)]
    if method != "ours":
        return lambda: grid_sampled(value, locations, weights, sizes), leaves
    levels = [(height, width) for height, width in sizes]
    return lambda: sampled_sum(value, locations * extent - 0.5, weights, levels), leaves


def grid_sampled(
    value: Tensor, locations: Tensor, weights: Tensor, sizes: list[list[int]]
) -> Tensor:
    """All samples of all levels by torch's `grid_sample`, times their weights, and their sum."""
    batch, queries, heads = locations.shape[:3]
    levels = value.split([math.prod(level) for level in sizes], dim=1)
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    samples = [
        grid_sample(
            rows.permute(0, 2, 3, 1).reshape(batch * heads, -1, *size),
            grids[:, :, level],
            align_corners=False,
        )
        for level, (rows, size) in enumerate(zip(levels, sizes, strict=True))
    ]
    by_head = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    summed = (torch.stack(samples, -2).flatten(-2) * by_head).sum(-1)
    return summed.view(batch, heads, -1, queries).permute(0, 3, 1, 2).contiguous()


def unfolded1d(x: Tensor, weights: Tensor) -> Tensor:
    """The unfold formulation: windows (b, t, g, e, n) times weights (b, t, g, n)."""
    groups, window = weights.shape[2:]
    wide = pad(x, (0, 0, window // 2, window // 2)).unflatten(-1, (groups, -1))
    windows = wide.unfold(1, window, 1).contiguous()
    return torch.matmul(windows, weights[..., None]).flatten(2)


def unfolded2d(x: Tensor, weights: Tensor) -> Tensor:
    """The unfold formulation on a map: windows (b, g, e, n * n, h * w)."""
    batch, height, width, groups, window, _ = weights.shape
    windows = unfold(x, window, padding=window // 2)
    windows = windows.view(batch, groups, -1, window**2, height * width)
    by_tap = weights.reshape(batch, height * width, groups, window**2).permute(0, 2, 3, 1)
    return (windows * by_tap[:, :, None]).sum(3).view(batch, -1, height, width)


def measure(rounds: int, device: str) -> Result:
    """Measure each case: ratios of ours to the other implementation."""
    rows = measure_rows(list(CASES), functools.partial(_row, rounds=rounds, device=device))
    return Result.from_rows("mixers", rounds=rounds, rows=rows, device=device)


def _row(name: str, rounds: int, device: str) -> Row:
    case = CASES[name]
    baseline, ours = BASELINES.get(case["kind"], ("torchvision", choose_method(ndim=2)))
    methods = dict.fromkeys((baseline, ours))
    calls = {method: prepare(method, **case, device=device) for method in methods}
    seconds = alternate(calls, rounds=rounds)
    del calls
    memory = {
        method: peak_memory(
            "benchmarks.mixers:prepare",
            {"method": method, **case, "device": device},
            device=device,
        )
        for method in methods
    }
    return {
        "case": name,
        "method": ours,
        "against": baseline,
        "time ratio": median_ratio(seconds[ours], seconds[baseline]),
        "memory ratio": memory[ours] / memory[baseline],
        "ms": 1e3 * statistics.median(seconds[ours]),
        "MiB": memory[ours] / 2**20,
    }


if __name__ == "__main__":
    run(__doc__, measure, rounds=9, device="cpu")
