"""The method that `plan` chooses for attention of given sizes, and its cost, without building it.

planned_cost(Term.parse("0011"), queries=(50, 84), keys=(25, 42))
planned_cost(AttentionSpec(terms="1111", rotary="axial"), queries=(512,))
"""

import math
from dataclasses import dataclass, replace

from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.ops import counts, gpu_counts
from quatrain.ops.attention import ConcreteMethod, Method, Plan, plan
from quatrain.ops.attention.augmented import WIDTH_MULTIPLE
from quatrain.ops.attention.plan import is_gpu
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure
from quatrain.specs import SpecError, Term
from quatrain.specs.errors import shorten

_FLOAT32 = 4

MOST_POSITIONS = 2**22
"""The most queries or keys, since their blocks are counted one by one."""


@dataclass(frozen=True)
class PlannedCost:
    """The method, its kernel and the reason; and its cost without projections.

    In training `multiply_adds` include the gradients of all operands. `bytes` are those of the
    largest temporary tensors in float32, which `holds` names: attention weights, sums over each row
    of keys (factored), or the position bias and in training its gradients (GPU kernels).
    """

    method: ConcreteMethod
    kernel: str | None
    multiply_adds: int
    bytes: int
    holds: str
    reason: str


def planned_cost(
    attention: Term | AttentionSpec,
    queries: tuple[int, ...],
    keys: tuple[int, ...] | None = None,
    structure: Structure = FULL_SUPPORT,
    *,
    channels: int = 256,
    heads: int | None = None,
    batch: int = 1,
    training: bool = False,
    method: Method = "auto",
    device: str = "cpu",
) -> PlannedCost:
    """Plan attention from a map (H, W) or sequence (T,) of queries to one of keys.

    `attention` are the terms, or a spec: then its heads, window and extensions are planned. `heads`
    are 8 by default. `keys` defaults to the queries; keys that are fewer by a whole stride on every
    axis are strided. The plan for a GPU depends on whether Triton is installed here. Projections,
    also those of a gate and of E3 apart from E1, and the network of "cpb" are not counted.

    Raises:
        SpecError: if the method does not apply, the channels do not fit, the batch is empty, or
            there are more positions than `MOST_POSITIONS`.
        InputError: if queries and keys do not fit each other.
    """
    spec = _spec_of(attention, heads, structure.window)
    terms, heads, null_key = spec.terms, spec.heads, spec.null_key or structure.null_key
    structure = replace(structure, window=spec.window, null_key=null_key)
    spec.check_channels(channels, len(queries))
    keys = queries if keys is None else keys
    _check_sizes(batch, queries, keys)
    grid = Grid(queries, keys, _stride(queries, keys))
    width, table = channels // heads, spec.table_on(grid.ndim)
    chosen = plan(
        terms,
        grid,
        structure,
        method,
        device=device,
        widths=(width, width),
        plain=spec.shares_keys and table is None,
        joint_table=table == "joint",
    )
    if chosen.kernel == "sdpa" and is_gpu(device):  # whose kernels need such head widths
        channels += heads * (-width % WIDTH_MULTIPLE)
    size = counts.AttentionSize(
        batch,
        grid,
        channels,
        structure=structure,
        heads=heads,
        shared_keys=spec.shares_keys,
        table=table,
    )
    products, stored, holds = _products(chosen, terms, size, training=training, device=device)
    return PlannedCost(
        chosen.method, chosen.kernel, products, _FLOAT32 * stored, holds, chosen.reason
    )


def _products(
    chosen: Plan, terms: Term, size: counts.AttentionSize, *, training: bool, device: str
) -> tuple[int, int, str]:
    """Multiply-adds, numbers in memory at one time, and what they are."""
    if chosen.kernel == "augmented":
        return gpu_counts.augmented(terms, size, training=training), 0, "attention weights"
    if chosen.kernel == "triton":
        axial = chosen.method == "separable"
        products = gpu_counts.triton(terms, size, axial=axial, training=training)
        stored = gpu_counts.stored_position_bias(terms, size, axial=axial, training=training)
        return products, stored, "position bias"
    with_channels = training or is_gpu(device)
    products = counts.attend(terms, chosen.method, size, training=with_channels)
    products += counts.attend_backward(terms, chosen.method, size) if training else 0
    stored = counts.stored_weights(terms, chosen.method, size, training=training, device=device)
    factored = chosen.method == "factored"
    return products, stored, "sums over rows of keys" if factored else "attention weights"


def _spec_of(
    attention: Term | AttentionSpec, heads: int | None, window: int | None
) -> AttentionSpec:
    """The spec of these terms; or the given one, which has its own heads and window."""
    if isinstance(attention, Term):
        return AttentionSpec(terms=attention, heads=8 if heads is None else heads, window=window)
    for name, value in (("heads", heads), ("window", window)):
        own = getattr(attention, name)
        if value not in (None, own):
            raise SpecError(f"{name}={value} differs from {own} of the spec; leave it out", name)
    return attention


def _check_sizes(batch: int, queries: tuple[int, ...], keys: tuple[int, ...]) -> None:
    if not 1 <= batch <= MOST_POSITIONS:
        message = f"batch={shorten(batch)} is out of range; use 1 to {MOST_POSITIONS}"
        raise SpecError(message, "batch")
    for name, sizes in (("queries", queries), ("keys", keys)):
        if math.prod(sizes) > MOST_POSITIONS:
            message = f"{name}={shorten(sizes)} has more than {MOST_POSITIONS} positions"
            raise SpecError(f"{message}; plan for a part", name)


def _stride(queries: tuple[int, ...], keys: tuple[int, ...]) -> int:
    """The smallest key stride that leaves exactly these keys; 1 where none does."""
    if len(queries) != len(keys) or 0 in keys:
        return 1
    stride = max(-(-size // key_size) for size, key_size in zip(queries, keys, strict=True))
    return stride if tuple(-(-size // stride) for size in queries) == keys else 1
