"""Count multiply-adds and parameters of any module by running it.

The module runs once, in evaluation mode and without gradients, and every matrix product and
convolution that reaches the dispatcher is counted by its shapes. Tensors on the meta device need
neither time nor memory, so that a large network can be counted too.

    linear = nn.Linear(512, 2048, device="meta")
    count_multiply_adds(linear, torch.empty(50, 512, device="meta"))    # 50 * 512 * 2048

One multiply-add is two FLOPs. Element-wise operators, softmax, gathers, interpolation and
embeddings count zero. Operators of unknown cost are named in the result and in a warning: matrix
operators without a formula, such as decompositions and Fourier transforms, and every operator of
another library without a formula, which may be element-wise.
`torch.utils.flop_counter.register_flop_formula` gives an operator a formula.

The same pass counts by the convention of the paper, which `quatrain.cost.convention` describes:

    count_multiply_adds(network, images).by_convention

Shapes: an image is h high and w wide.
"""

import re
import warnings
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from quatrain.cost.convention import ConventionCounter
from quatrain.cost.formulas import formulas
from quatrain.nn.modes import unfused_evaluation

_PASSES = 3
_TERA = 50
ASSUMED = f"{_TERA} tera multiply-adds a second, a third of an NVIDIA A100's peak in bfloat16"
"""The speed of a GPU in the estimates of `training_hours`."""


class MultiplyAdds(int):
    """The multiply-adds of a call; `uncounted` has the operators of unknown cost that ran.

    JSON, formatting and pickle accept it as an int; `yaml.safe_dump` and
    `torch.load(weights_only=True)` refuse subclasses of int: pass `int(count)`.
    """

    uncounted: Mapping[str, int]
    """The number of calls of each uncounted operator, by name."""
    by_convention: int | None
    """The count by the paper's convention; None if the paper does not count a mixer that ran."""

    def __new__(
        cls,
        count: int,
        uncounted: Mapping[str, int] | None = None,
        by_convention: int | None = None,
    ) -> Self:
        """Store both counts and the uncounted operators."""
        multiply_adds = super().__new__(cls, count)
        multiply_adds.uncounted = dict(uncounted or {})
        multiply_adds.by_convention = by_convention
        return multiply_adds


def count_multiply_adds(module: nn.Module, *inputs: Any, **named_inputs: Any) -> MultiplyAdds:
    """Run `module(*inputs, **named_inputs)` once and count the multiply-adds it executes.

    Training modes are restored afterwards. `by_convention` of the result replaces the executed
    multiply-adds of each mixer that ran by the number of the paper's convention.

    Source of the convention: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, tables 1 to 3.

    Warns:
        UserWarning: if an operator of unknown cost ran: a matrix operator without a formula, or
            any operator of a library that torch does not know.
    """
    counter = FlopCounterMode(display=False, custom_mapping=formulas())
    unknown = _UnknownOperators(counter.flop_registry)
    higher_order = _HigherOrderOperators(counter, unknown.calls)
    convention = ConventionCounter(lambda: counter.get_total_flops() // 2)
    with (
        convention.attached(module),
        unfused_evaluation(module),
        torch.no_grad(),
        unknown,
        counter,
        higher_order,
    ):
        module(*inputs, **named_inputs)
    if unknown.calls:
        operators = ", ".join(f"{name} ({calls}x)" for name, calls in unknown.calls.items())
        warnings.warn(
            f"multiply-adds of these operators are not counted: {operators}", stacklevel=2
        )
    executed, difference = counter.get_total_flops() // 2, convention.difference
    by_convention = None if difference is None else executed + difference
    return MultiplyAdds(executed, unknown.calls, by_convention)


def count_parameters(module: nn.Module) -> int:
    """The number of learned values; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_cost(model: nn.Module, multiply_adds: int) -> dict[str, float]:
    """The cost of a model for its record; `multiply_adds` keeps its uncounted operators.

    `multiply_adds_closed_form` repeats the number, since tests prove that the count of our modules
    equals closed forms; records have had this field from the beginning. `paper_multiply_adds` is
    the count by the paper's convention, if `multiply_adds` has it.

        model_cost(network, count_multiply_adds(network, images))
    """
    by_convention: int | None = getattr(multiply_adds, "by_convention", None)
    paper = {} if by_convention is None else {"paper_multiply_adds": float(by_convention)}
    return {
        "parameters": float(count_parameters(model)),
        "multiply_adds": multiply_adds,
        "multiply_adds_closed_form": float(multiply_adds),
        **paper,
    }


def training_hours(forward: float) -> float:
    """Hours on one GPU for a training whose forward passes have `forward` multiply-adds in all.

    Forward and backward together cost three forward passes, at the speed of `ASSUMED`.

    Example:
        >>> round(training_hours(60e15), 6)
        1.0
    """
    return _PASSES * forward / (_TERA * 1e12) / 3600


@contextmanager
def on_meta() -> Generator[None]:
    """Modules that are built in the block are on the meta device, without initial values.

    The functions of `torch.nn.init` do nothing: on the meta device they import torch's compiler.
    """
    with torch.device("meta"), _NoInitialization():
        yield


class _NoInitialization(TorchFunctionMode):
    """Replaces the functions of `torch.nn.init`, which return their first argument."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_on_meta(spec: Any, classes: int) -> Any:
    """Build a detector or segmenter from its spec on the meta device, without reading weights."""
    backbone = spec.backbone.model_copy(update={"weights": None})
    with on_meta():
        return spec.model_copy(update={"backbone": backbone}).build(classes)


def meta_image(size: tuple[int, int]) -> UInt8[Tensor, "1 3 h w"]:
    """An image of a size (height, width) on the meta device."""
    return torch.empty(1, 3, *size, dtype=torch.uint8, device="meta")


class _UnknownOperators(TorchDispatchMode):
    """Counts the calls of operators of unknown cost, after the counter has decomposed operators."""

    def __init__(self, formulas: Mapping[Any, Any]) -> None:
        super().__init__()
        self._formulas = formulas
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        packet = func._overloadpacket
        if packet not in self._formulas and _may_multiply(func.namespace, packet.__name__):
            self.calls[f"{func.namespace}::{packet.__name__}"] += 1
        return func(*args, **(kwargs or {}))


class _HigherOrderOperators(TorchDispatchMode):
    """Counts operators that take functions, such as flex_attention, as one operator.

    The counter itself counts both branches of torch.cond: of each operator, the larger number.
    """

    supports_higher_order_operators = True

    def __init__(self, counter: FlopCounterMode, unknown: Counter[str]) -> None:
        super().__init__()
        self._counter, self._unknown = counter, unknown

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        kwargs = kwargs or {}
        higher_order = isinstance(func, torch._ops.HigherOrderOperator)
        if not higher_order or func is torch.ops.higher_order.cond:
            return func(*args, **kwargs)
        with _disable_current_modes():
            output = func(*args, **kwargs)
        if func not in self._counter.flop_registry:
            self._unknown[f"{func.namespace}::{func.name()}"] += 1
        return self._counter._count_flops(func, output, args, kwargs)


_KNOWN = (
    "aten prim prims quantized _quantized mkldnn mkl onednn sparse torchvision image inductor "
    "profiler streams c10d _c10d_functional fsdp symm_mem"
)
"""Libraries whose operators are judged by their names; those of others may all multiply."""
_PRODUCTS = re.compile(
    r"""(?:^|_)(?: [a-z]*mm | mv | addmv | v?dot | addr | ger | q?matmul | gemm | q?linear
    | q?conv(?:[123]d)? | convolution | attention | encoder | lstm | gru | rnn | cdist | pdist
    | trilinear | fft | cholesky | (?:sp)?solve | p?inv | inverse | det | slogdet | matrix | qr
    | svd | eig | eigh | eigvals | lu | ldl | lstsq | geqrf | orgqr | ormqr | householder | polar
    )(?:_|$)""",
    re.VERBOSE,
)
_OTHERS = re.compile(
    r"^_thnn_fused|slice_inverse|(?:^|_)(?:un|pre)?pack(?:_|$)|_reorder_|flatten_weight|_quantize_"
)
"""Exceptions: element-wise parts of recurrent cells, views, and conversions of weights."""


def _may_multiply(library: str, name: str) -> bool:
    """Whether an operator without a formula may multiply matrices."""
    if library not in _KNOWN.split():
        return True
    return _PRODUCTS.search(name) is not None and _OTHERS.search(name) is None
