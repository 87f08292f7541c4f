"""The paper's counting convention for multiply-adds, applied to our mixers.

The convention is recovered from the published costs: the operations of a plain implementation with
separable position logits on maps, without the terms that do not depend on the query. A network
costs what it executes outside of its mixers, and each mixer costs the number of `count_mixer` for
every call; `count_multiply_adds` returns both counts of a call.

Mixers are recognized by their modules: in an exported or traced graph, which has none, and in
step-by-step decoding, which does not call `forward`, they count as executed.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from quatrain.nn.attended import Attended
from quatrain.nn.convolution import RegularConv
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.dynamic_conv import DynamicConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.mixer_module import MixerModule
from quatrain.nn.tokens import spatial_sizes
from quatrain.ops import counts
from quatrain.ops.positions import Grid
from quatrain.specs import Term

Sizes = tuple[int, ...]
COUNTED = (GeneralizedAttention, RegularConv, DeformableConv, DynamicConv, Attended)
"""The mixers in the paper; lightweight convolution, mixers of later papers and attention with
extensions are not."""


class ConventionCounter:
    """Counts the calls of mixers by the paper's convention, and what they execute.

    Args:
        executed: returns the multiply-adds that have been executed so far.
    """

    def __init__(self, executed: Callable[[], int]) -> None:
        self._executed = executed
        self._started: list[int] = []
        self._difference: int | None = 0

    @property
    def difference(self) -> int | None:
        """The convention's number minus the executed one; None if the paper lacks a mixer."""
        return self._difference

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Count the calls of the mixers in `model` within the block."""
        with ExitStack() as hooks:
            for mixer in _outermost_mixers(model):
                for handle in (
                    mixer.register_forward_pre_hook(self._start, prepend=True),
                    mixer.register_forward_hook(self._finish, with_kwargs=True),
                ):
                    hooks.callback(handle.remove)
            yield

    def _start(self, mixer: nn.Module, _: tuple[Any, ...]) -> None:
        del mixer
        self._started.append(self._executed())

    def _finish(
        self, mixer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], _: Tensor
    ) -> None:
        executed = self._executed() - self._started.pop()
        if not isinstance(mixer, COUNTED) or _has_extensions(mixer):
            self._difference = None
        elif self._difference is not None:
            arguments = inspect.signature(mixer.forward).bind(*inputs, **named).arguments
            x = next(iter(arguments.values()))
            key = arguments.get("key")
            sizes = spatial_sizes(x, mixer.ndim)
            keys = sizes if key is None else spatial_sizes(key, mixer.ndim)
            self._difference += len(x) * count_mixer(mixer, sizes, keys) - executed


def _has_extensions(mixer: nn.Module) -> bool:
    """Whether attention in the mixer has a mechanism that the paper lacks."""
    attentions = (part for part in mixer.modules() if isinstance(part, GeneralizedAttention))
    return any(part.spec.extensions for part in attentions)


def _outermost_mixers(module: nn.Module) -> list[nn.Module]:
    """The mixers in a module, each once, without the parts of composed mixers."""
    found: dict[nn.Module, None] = {}

    def visit(part: nn.Module) -> None:
        if isinstance(part, MixerModule):
            found[part] = None
        else:
            for child in part.children():
                visit(child)

    visit(module)
    return [*found]


def count_mixer(module: nn.Module, sizes: Sizes, keys: Sizes | None = None) -> int:
    """Multiply-adds of a mixer for one image or sentence; sizes are (T,) or (H, W).

    A deformable convolution counts as the regular one: the branch that predicts its offsets and
    the interpolation are left out.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1 and equations 3 to 7.

    Args:
        module: one of `COUNTED`.
        sizes: the sizes of the input, or of the queries.
        keys: the sizes of the attended content; None for those of the queries.
    """
    if _has_extensions(module):
        raise TypeError("the paper does not count attention with extensions")
    match module:
        case GeneralizedAttention():
            return count_attention(module, sizes, sizes if keys is None else keys)
        case RegularConv() | DeformableConv():
            taps, width = module.spec.kernel**module.ndim, module.weight.shape[1]
            positions = math.prod(_strided(sizes, module.spec.stride))
            return counts.convolution(positions, taps, width, module.channels)
        case DynamicConv():
            positions, taps = math.prod(sizes), module.spec.kernel**module.ndim
            convolution = counts.convolution(positions, taps, 1, module.channels)
            return count_linears(module, positions) + convolution
        case Attended():
            convolved = _strided(sizes, module.convolution.spec.stride)
            convolution = count_mixer(module.convolution, sizes)
            return convolution + count_mixer(module.attention, convolved)
        case _:
            raise TypeError(f"the paper does not count {type(module).__name__}")


def count_attention(module: GeneralizedAttention, queries: Sizes, keys: Sizes) -> int:
    """Multiply-adds of attention for one image or sentence; sizes are (T,) or (H, W).

    `keys` are the sizes before the key stride. Terms that are switched off cost nothing.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, figure 3, tables 2 and 3:
        the paper states orders of growth; the constants are those that reproduce its numbers.
    Differs: widths are those of our layers; the convention counts a full projection of the
        offsets for each axis of a map, where ours projects half of the channels for each. The paper
        has no key stride.
    """
    terms, window, stride = module.terms, module.spec.window, module.spec.key_stride
    grid = Grid(queries, _strided(keys, stride), stride)
    query_count, key_count = math.prod(grid.queries), math.prod(grid.keys)
    total = count_linears(module.output, query_count) + count_linears(module.value, key_count)
    if module.query is not None and terms.use_query:
        total += count_linears(module.query, query_count)
    if module.key is not None and terms.use_content:
        total += count_linears(module.key, key_count)
    position = module.position if terms.use_position else None
    for axis, layer in enumerate(position or ()):
        offsets = len(grid.relative_range(axis)) if window is None else window
        total += module.ndim * count_linears(layer, offsets)
    if terms == Term.KEY or not terms:  # all queries share one row of logits and one mean
        return total + key_count * module.channels * (1 + bool(terms))
    coordinates = grid.keys if window is None else _strided((window,) * module.ndim, stride)
    keys_per_query = math.prod(coordinates)
    products = 0  # of one query, with keys or with coordinates of keys
    if terms.has(Term.QUERY_KEY):
        products = keys_per_query
    elif terms.has(Term.QUERY_POSITION):
        products = sum(coordinates)
    return total + query_count * module.channels * (products + keys_per_query)


def count_linears(module: nn.Module, rows: int) -> int:
    """Multiply-adds of all linear layers in a module, each applied to `rows` vectors."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(counts.linear(rows, layer.in_features, layer.out_features) for layer in layers)


def _strided(sizes: Sizes, stride: int) -> Sizes:
    return tuple(-(-size // stride) for size in sizes)
