"""Attention with positions on a map by kernels of a GPU, whose tiles know rows and columns.

One makes position tables (`tables`), which are float32 at least; one reads
them, and holds no number for a pair of a query and a key (`mix_by_tiles`). Triton compiles them for
the GPU, and is imported when it is first needed: where it is missing, nothing else is.

Shapes: b batch, h heads, q queries, e width of a value.
"""

import functools
import importlib.util
import subprocess
import warnings
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attend.mix_by_tiles import EVERYWHERE, Band, mix
from quatrain.ops.attend.opaque import logits_within
from quatrain.ops.attend.tables import NO_WEIGHT, tables_of
from quatrain.ops.positions import Grid, for_each_query
from quatrain.ops.precision import full_precision
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, content_asks, position_asks, with_exact_biases
from quatrain.specs import Term

WIDEST = 128
"""The width of keys and values of a head up to which tiles fit a GPU's shared memory."""


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether Triton is installed and, where there are GPUs, serves all of them.

    It does for those of NVIDIA from compute capability 8.0 on, if it finds a C compiler. For those
    of AMD the kernels were never compiled.
    """
    return _is_available()


@functools.cache
def _is_available() -> bool:
    if importlib.util.find_spec("triton") is None or torch.version.hip is not None:
        return False
    if not torch.cuda.is_available():
        return True
    devices = range(torch.cuda.device_count())
    if any(torch.cuda.get_device_capability(device) < (8, 0) for device in devices):
        return False
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        warnings.warn(
            f"Triton does not start ({error}), so attention with positions on maps is left to "
            "torch's kernel, with more products; a C compiler may be missing.",
            stacklevel=2,
        )
        return False
    return True


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value = operands.value
    with full_precision(value):
        logits = logits_within(terms, operands, grid, support)
        if logits is not None:
            logits = logits.expand(*value.shape[:3])
        sums = with_exact_biases(operands)
        asks = key = None
        if terms.has(Term.QUERY_KEY):
            asks, key = (
                cast(Tensor, x).to(value.dtype) for x in (content_asks(terms, sums), operands.key)
            )
        places = cast(Tensor, position_asks(terms, sums)).to(value.dtype)
        window, band = support.window, EVERYWHERE
        if window is not None:
            band = Band(grid.queries[1], grid.key_stride, window // 2)
        asked = for_each_query(places, grid)
        relative = tuple(axis.to(value.dtype) for axis in operands.relative)
        rows, columns = tables_of(asked, relative, grid, window)
        mixed, totals = mix(value, asks, key, logits, rows, columns, band=band)
    if window is None and support.key_padding_mask is None:
        return mixed
    return torch.where((totals <= NO_WEIGHT)[..., None], 0.0, mixed)
