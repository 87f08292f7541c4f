"""Multiply-adds and parameters of any module, counted while it runs.

The module runs once, in evaluation mode and without gradients, and every matrix product and
convolution that reaches the dispatcher is counted by its shapes. Tensors on the meta device do
as well as real ones, so a large network is counted in no time and in no memory.

    linear = nn.Linear(512, 2048, device="meta")
    count_multiply_adds(linear, torch.empty(50, 512, device="meta"))    # 50 * 512 * 2048

One multiply-add is two FLOPs. Element-wise work, softmax, gathers, interpolation and embeddings
count nothing. A matrix operator without a formula, as a decomposition or a Fourier transform, is
named in the result, and a warning says so; `torch.utils.flop_counter.register_flop_formula` gives
an operator a formula.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from quatrain.cost.formulas import formulas


class MultiplyAdds(int):
    """Multiply-adds of a call; `uncounted` are the matrix operators without a formula that ran.

    They are names of torch's operators, with how often each ran.
    """

    uncounted: Mapping[str, int]

    def __new__(cls, count: int, uncounted: Mapping[str, int] | None = None) -> Self:
        """The number, with what is missing in it."""
        made = super().__new__(cls, count)
        made.uncounted = dict(uncounted or {})
        return made


def count_multiply_adds(module: nn.Module, *inputs: Any, **named_inputs: Any) -> MultiplyAdds:
    """Run `module(*inputs, **named_inputs)` once and count the multiply-adds it executes.

    The module comes back as it was: its training modes are restored and it keeps no hook.

    Warns:
        UserWarning: if a matrix operator ran that has no formula.
    """
    counter = FlopCounterMode(display=False, custom_mapping=formulas())
    watch = _Watch(counter.flop_registry)
    with _as_deployed(module), torch.no_grad(), watch, counter:
        module(*inputs, **named_inputs)
    if watch.uncounted:
        named = ", ".join(f"{name} ({times}x)" for name, times in watch.uncounted.items())
        warnings.warn(
            f"the multiply-adds of these operators are not counted, for want of a formula: {named}",
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
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for part, mode in modes:
            part.training = mode


class _Watch(TorchDispatchMode):
    """Sees the operators that run after the counter has taken apart what it can."""

    supports_higher_order_operators = True

    def __init__(self, counted: Mapping[Any, Any]) -> None:
        super().__init__()
        self._counted = counted
        self.uncounted: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        if isinstance(func, torch._ops.HigherOrderOperator):
            return NotImplemented
        packet = func._overloadpacket
        if packet not in self._counted and _multiplies(func.namespace, packet.__name__):
            self.uncounted[f"{func.namespace}::{packet.__name__}"] += 1
        return func(*args, **(kwargs or {}))


_KNOWN = (
    "aten prim prims quantized _quantized mkldnn mkl onednn sparse torchvision image inductor "
    "profiler streams c10d _c10d_functional fsdp symm_mem"
)
"""Libraries of operators whose names tell what multiplies matrices; of others nothing is known."""
_PRODUCTS = re.compile(
    r"""(?:^|_)(?: [a-z]*mm | mv | addmv | v?dot | addr | ger | q?matmul | gemm | q?linear
    | q?conv(?:[123]d)? | convolution | attention | encoder | lstm | gru | rnn | cdist | pdist
    | trilinear | fft | cholesky | (?:sp)?solve | inv | inverse | det | slogdet | matrix | qr | svd
    | eig | eigh | eigvals | lu | ldl | lstsq | geqrf | orgqr | ormqr | householder | polar
    )(?:_|$)""",
    re.VERBOSE,
)
_OTHERS = re.compile(
    r"^_thnn_fused|slice_inverse|(?:^|_)(?:un|pre)?pack(?:_|$)|_reorder_|flatten_weight|_quantize_"
)
"""Element-wise parts of cells, views, and weights that are laid out anew."""


def _multiplies(library: str, name: str) -> bool:
    """Whether an operator without a formula may multiply matrices."""
    if library not in _KNOWN.split():
        return True
    return _PRODUCTS.search(name) is not None and _OTHERS.search(name) is None
