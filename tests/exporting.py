"""Export of each mixer and model with dynamic sizes, for the tests and the table of docs/export.md.

python tests/exporting.py     # prints the table
"""

import logging
import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from quatrain.nn.mixers import parse_mixer
from quatrain.specs import ALL_TERM_SETS

CHANNELS = 16
TERM_SETS = [str(terms) for terms in ALL_TERM_SETS]
CONVOLUTIONS = ["regular", "deformable", "modulated", "dynamic", "lightweight"]
EXTENDED = ["1011 rope qknorm gate", "0111 t5", "0011 alibi", "1101 swin", "0001 cpb", "1010 null"]
SAMPLING = ["deformable-attention", "dcnv3", "dcnv4"]
OTHERS = ["1111@3", *CONVOLUTIONS, "1111+deformable", *EXTENDED, *SAMPLING]
ON_SEQUENCES = ["0000", "0010", "0011", "0110", "1000", "1111", *OTHERS]
MAPS = [(2, 5, 7), (1, 4, 9), (3, 1, 6), (2, 6, 1), (1, 1, 1), (1, 23, 33)]
"""Batch, height and width; the first is the example of the export."""
SEQUENCES = [(2, 7), (1, 4), (3, 1), (1, 40), (2, 66)]
IMAGES = [(2, 96, 128), (1, 128, 96), (3, 70, 101)]


class Call(nn.Module):
    """A mixer with a fixed `causal` argument."""

    def __init__(self, mixer, causal):
        super().__init__()
        self.mixer, self.causal = mixer, causal

    def forward(self, x):
        return self.mixer(x, causal=self.causal)


class ImageMaps(nn.Module):
    """The maps of a network of images as one tensor per map."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        maps = self.network(x)
        return tuple(maps.values()) if isinstance(maps, dict) else maps


@dataclass(frozen=True)
class Case:
    """A mixer or model to export: its name, the kind of its input, and the stride of its keys."""

    name: str
    layout: str
    key_stride: int = 1

    def __str__(self):
        stride = f", key stride {self.key_stride}" if self.key_stride > 1 else ""
        return f"{self.name}{stride}, {self.layout}"

    @property
    def axes(self):
        if self.layout == "causal sequence":
            return {0: "batch", 1: "length"}
        return {0: "batch", 2: "height", 3: "width"}

    @property
    def sizes(self):
        return {"map": MAPS, "causal sequence": SEQUENCES, "images": IMAGES}[self.layout]

    @property
    def smallest(self):
        """The smallest spatial size that fits a program of `torch.export`."""
        if self.layout == "images":
            return 65
        return 0 if self.key_stride == 1 else self.key_stride + 1

    def input(self, sizes):
        """Random content of these sizes."""
        batch, *spatial = sizes
        generator = torch.Generator().manual_seed(sum(sizes))
        if self.layout == "images":
            shape = (batch, 3, *spatial)
            if self.name.startswith("segmenter"):
                return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
            return torch.randn(shape, generator=generator)
        shape = (batch, CHANNELS, *spatial) if self.layout == "map" else (batch, *spatial, CHANNELS)
        return torch.randn(shape, generator=generator)

    @cached_property
    def module(self):
        """The module in evaluation mode, with offsets and scales other than zero."""
        torch.manual_seed(0)
        module = self._build().eval()
        spread = 0.02 if self.layout == "images" else 0.3  # large offsets amplify rounding
        for name, parameter in module.named_parameters():
            if "gamma" in name or "offset" in name:
                nn.init.normal_(parameter, std=spread)
        return module

    def _build(self):
        if self.layout == "images":
            return _network(*self.name.split(" with "))
        mixer = parse_mixer(self.name, heads=2)
        if self.key_stride > 1:
            mixer = mixer.model_copy(update={"key_stride": self.key_stride})
        causal = self.layout != "map"
        return Call(mixer.build(CHANNELS, 1 if causal else 2), causal)


def _network(kind, mixer):
    from quatrain.models.detector import DetectorSpec
    from quatrain.models.resnet import ResNetSpec
    from quatrain.models.segmenter import SegmenterSpec

    spec = {"depth": 18, "width": 16, "mixer": parse_mixer(mixer, heads=2)}
    if kind == "segmenter":
        backbone = ResNetSpec(output_stride=8, **spec)
        return SegmenterSpec(backbone=backbone, channels=32, norm="batch").build(classes=4)
    return ImageMaps(DetectorSpec(backbone=ResNetSpec(**spec)).build(classes=4).network.backbone)


CASES = [
    *(Case(name, "map") for name in (*TERM_SETS, *OTHERS, "0011 null")),
    Case("1111", "map", key_stride=2),
    *(Case(name, "causal sequence") for name in (*ON_SEQUENCES, "0010 null")),
    Case("1111", "causal sequence", key_stride=2),
]
NETWORKS = [
    Case("detector backbone with 1111+deformable", "images"),
    Case("segmenter with 0110", "images"),
]


def to_onnx(module, example, axes):
    """A function that runs the ONNX graph of `module`, whose `axes` are dynamic."""
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of onnxscript and of the exporter itself
        program = torch.onnx.export(
            module, (example,), dynamo=True, dynamic_shapes=(axes,), verbose=False
        )
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {name: x.numpy()})]


def to_program(module, example, axes, smallest=0):
    """The module of `torch.export` of `module`, whose `axes` are dynamic.

    Since they have names, torch refuses every guard but that spatial sizes are `smallest` or more.
    """
    sizes = {
        axis: torch.export.Dim(name, min=smallest if axis else 0) for axis, name in axes.items()
    }
    exported = torch.export.export(module, (example,), dynamic_shapes=(sizes,)).module()

    def run(x):
        outputs = exported(x)
        return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)

    return run


@torch.no_grad()
def largest_difference(case, export):
    """The largest difference between a module and its export, over all sizes.

    It is divided by the largest output where that is above 1.
    """
    sizes, options = case.sizes, {}
    if export is to_program:
        sizes = [each for each in sizes if min(each[1:]) >= case.smallest]
        options["smallest"] = case.smallest
    graph = export(case.module, case.input(sizes[0]), case.axes, **options)
    largest = 0.0
    for each in sizes:
        x = case.input(each)
        expected = case.module(x)
        expected = [expected] if isinstance(expected, torch.Tensor) else expected
        for y, z in zip(graph(x), expected, strict=True):
            assert y.shape == z.shape
            scale = max(1.0, z.abs().max().item())
            largest = max(largest, (y - z).abs().max().item() / scale)
    return largest


def table_row(case):
    """The row of docs/export.md."""
    differences = [largest_difference(case, export) for export in (to_onnx, to_program)]
    numbers = " | ".join(f"{each:.0e}" if each else "0" for each in differences)
    return f"| {case} | {', '.join(case.axes.values())} | {numbers} |"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print("| module | dynamic axes | ONNX | torch.export |")
    print("|---|---|---|---|")
    for case in CASES + NETWORKS:
        print(table_row(case), flush=True)
