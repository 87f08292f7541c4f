"""Multiply-adds and parameters of any module, counted while it runs.

The module runs once, in evaluation mode and without gradients, and every matrix product and
convolution that reaches the dispatcher is counted by its shapes. Tensors on the meta device do
as well as real ones, so a large network is counted in no time and in no memory.

    linear = nn.Linear(512, 2048, device="meta")
    count_multiply_adds(linear, torch.empty(50, 512, device="meta"))    # 50 * 512 * 2048

One multiply-add is two FLOPs. Element-wise work, softmax, gathers, interpolation and embeddings
count nothing. Operators of unknown cost are named in the result and in a warning: a matrix operator
without a formula, such as a decomposition or a Fourier transform, and every operator of another
library without a formula, which may be element-wise;
`torch.utils.flop_counter.register_flop_formula` gives an operator a formula.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from quatrain.cost.formulas import formulas


class MultiplyAdds(int):
    """Multiply-adds of a call, and the operators of unknown cost that ran (`uncounted`).

    `uncounted` maps the name of each operator to the number of its calls. JSON, formatting and
    pickle take the number as it is; `yaml.safe_dump` and `torch.load(weights_only=True)` refuse
    subclasses of int: give them `int(count)`.
    """

    uncounted: Mapping[str, int]

    def __new__(cls, count: int, uncounted: Mapping[str, int] | None = None) -> Self:
        """The number, and the number of calls of each operator that is not in it."""
        multiply_adds = super().__new__(cls, count)
        multiply_adds.uncounted = dict(uncounted or {})
        return multiply_adds


def count_multiply_adds(module: nn.Module, *inputs: Any, **named_inputs: Any) -> MultiplyAdds:
    """Run `module(*inputs, **named_inputs)` once and count the multiply-adds it executes.

    The module comes back as it was: its training modes are restored and it keeps no hook.

    Warns:
        UserWarning: if an operator of unknown cost ran: a matrix operator without a formula, or
            any operator of a library that torch does not know.
    """
    counter = FlopCounterMode(display=False, custom_mapping=formulas())
    watch = _Watch(counter.flop_registry)
    functions = _OperatorsOfFunctions(counter, watch.uncounted)
    with _as_deployed(module), torch.no_grad(), watch, counter, functions:
        module(*inputs, **named_inputs)
    if watch.uncounted:
        operators = ", ".join(f"{name} ({times}x)" for name, times in watch.uncounted.items())
        warnings.warn(
            "operators of unknown cost ran, whose multiply-adds, if any, are not counted: "
            + operators,
            stacklevel=2,
        )
    return MultiplyAdds(counter.get_total_flops() // 2, watch.uncounted)


def count_parameters(module: nn.Module) -> int:
    """The number of learnt values; a parameter that is shared counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _as_deployed(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    # torch's own encoder layers would run as one operator whose inside cannot be counted
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled code hides its operators
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for part, mode in modes:
            part.training = mode


class _Watch(TorchDispatchMode):
    """Sees the operators that run after the counter has taken apart what it can."""

    def __init__(self, counted: Mapping[Any, Any]) -> None:
        super().__init__()
        self._counted = counted
        self.uncounted: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        packet = func._overloadpacket
        if packet not in self._counted and _multiplies(func.namespace, packet.__name__):
            self.uncounted[f"{func.namespace}::{packet.__name__}"] += 1
        return func(*args, **(kwargs or {}))


class _OperatorsOfFunctions(TorchDispatchMode):
    """Counts operators that take functions, such as flex_attention, as one, or names them.

    Of torch.cond the counter itself counts both branches: of each operator, the larger number.
    """

    supports_higher_order_operators = True

    def __init__(self, counter: FlopCounterMode, uncounted: Counter[str]) -> None:
        super().__init__()
        self._counter, self._uncounted = counter, uncounted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        kwargs = kwargs or {}
        of_functions = isinstance(func, torch._ops.HigherOrderOperator)
        if not of_functions or func is torch.ops.higher_order.cond:
            return func(*args, **kwargs)
        with _disable_current_modes():
            output = func(*args, **kwargs)
        if func not in self._counter.flop_registry:
            self._uncounted[f"{func.namespace}::{func.name()}"] += 1
        return self._counter._count_flops(func, output, args, kwargs)


_KNOWN = (
    "aten prim prims quantized _quantized mkldnn mkl onednn sparse torchvision image inductor "
    "profiler streams c10d _c10d_functional fsdp symm_mem"
)
"""Libraries of operators whose names tell what multiplies matrices; of others nothing is known."""
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
"""Element-wise parts of cells, views, and weights that are laid out anew."""


def _multiplies(library: str, name: str) -> bool:
    """Whether an operator without a formula may multiply matrices; of other libraries, any may."""
    if library not in _KNOWN.split():
        return True
    return _PRODUCTS.search(name) is not None and _OTHERS.search(name) is None
