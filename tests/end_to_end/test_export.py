"""Export with dynamic sizes, to ONNX and by `torch.export`; `exporting` has the cases."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from exporting import CASES, NETWORKS, Case, largest_difference, to_onnx, to_program
from quatrain.insertion import insert, replace
from quatrain.nn.mixers import parse_mixer

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
TOLERANCE = 1e-4
FAST = [Case("0110", "map"), Case("deformable", "causal sequence")]
SLOW = (pytest.mark.slow, pytest.mark.timeout(1200))
every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=() if case in FAST else SLOW)
        for case in CASES + NETWORKS
    ],
)


@pytest.fixture(scope="module")
def onnx_packages():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} of the extra `export` is not installed")


@pytest.mark.compile
@every_case
def test_an_onnx_graph_computes_the_same_for_every_size(case, onnx_packages):
    assert largest_difference(case, to_onnx) <= TOLERANCE


@pytest.mark.compile
@every_case
def test_an_exported_program_computes_the_same_for_every_size(case):
    assert largest_difference(case, to_program) <= TOLERANCE


@pytest.fixture
def network():
    """A small network with an inserted attention and a deformable convolution."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
    model = nn.Sequential(*layers).eval()
    example = torch.randn(2, 3, 6, 5)
    insert(model, parse_mixer("1111", heads=2), after="1", example=example)
    replace(model, parse_mixer("deformable"), at="2", example=example)
    for name, parameter in model.named_parameters():
        if "gamma" in name or "offset" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.slow
@pytest.mark.compile
def test_a_network_with_inserted_mixers_becomes_an_onnx_graph(network, onnx_packages):
    axes = {0: "batch", 2: "height", 3: "width"}
    graph = to_onnx(network, torch.randn(2, 3, 6, 5), axes)
    for shape in ((2, 3, 6, 5), (1, 3, 1, 9), (3, 3, 20, 14)):
        x = torch.randn(shape)
        assert_close(graph(x)[0], network(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.compile
@pytest.mark.parametrize(("terms", "method"), [("1111", "fused"), ("0110", "factored")])
def test_a_method_that_onnx_does_not_have_is_named(terms, method, onnx_packages):
    case = Case(terms, "map")
    case.module.mixer.method = method
    with pytest.raises(torch.onnx.OnnxExporterError, match=f'method="{method}" .* "reference"'):
        to_onnx(case.module, case.input(case.sizes[0]), case.axes)


@pytest.mark.compile
@pytest.mark.parametrize("name", ["deformable", "dynamic"])
@pytest.mark.parametrize("layout", ["map", "causal sequence"])
def test_an_exported_convolution_has_the_gradients_of_the_module(name, layout):
    case = Case(name, layout)
    graph = to_program(case.module, case.input(case.sizes[0]), case.axes)
    for sizes in case.sizes:
        gradients = []
        for call in (lambda x: graph(x)[0], case.module):
            x = case.input(sizes).requires_grad_()
            gradients.append(torch.autograd.grad(call(x).square().sum(), x))
        assert_close(*gradients, rtol=TOLERANCE, atol=TOLERANCE)


def table():
    """The rows of the page: module, dynamic axes, and both differences."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines()]
    return {
        cells[0]: cells[1:] for cells in lines if len(cells) == 4 and cells[1] != "dynamic axes"
    }


def test_the_page_has_a_row_for_each_module():
    cases = {str(case): case for case in CASES + NETWORKS}
    assert list(table()) == list(cases)
    for name, (axes, *differences) in table().items():
        assert axes == ", ".join(cases[name].axes.values())
        assert all(0 <= float(each) <= TOLERANCE for each in differences)
