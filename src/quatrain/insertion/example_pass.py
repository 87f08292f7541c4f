"""One forward pass of an example through somebody's model: what passes each module, and how."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from quatrain.insertion.arguments import parameters_of
from quatrain.insertion.layouts import KEEPS_AXES, Axes

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What the model is called with: one tensor, several arguments, or arguments by name."""
Shape = tuple[int, ...] | str
"""The sizes of a tensor, or the name of the class of something else."""


@dataclass
class Call:
    """One call of a module: what came in first, all its arguments, what went out."""

    before: Shape
    arguments: dict[str, Any]
    after: Shape = "nothing"


@dataclass
class ExamplePass:
    """What one forward pass shows: the calls of places and of the modules around them."""

    axes: Axes
    calls: dict[str, list[Call]] = field(default_factory=dict)


def run_example(model: nn.Module, places: Mapping[str, nn.Module], example: Example) -> ExamplePass:
    """One forward pass that leaves the model as it was.

    Args:
        model: what to run.
        places: whose calls to note, by name; those of the modules that hold them are noted too.
        example: what the model is called with.
    """
    seen = ExamplePass(Axes(batch=_first_axis(example)))
    permuted = _Permutations()
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):  # it takes no hooks
                continue
            watch = _WatchAxes(seen.axes, permuted)
            hooks.callback(module.register_forward_pre_hook(watch.enter).remove)
            hooks.callback(module.register_forward_hook(watch.leave).remove)
        for name in _with_holders(places):
            watch = _WatchCalls(seen.calls.setdefault(name, []))
            module = model.get_submodule(name)
            for handle in (
                module.register_forward_pre_hook(watch.enter, with_kwargs=True),
                module.register_forward_hook(watch.leave),
            ):
                hooks.callback(handle.remove)
        with _as_it_was(model), permuted:
            _call(model, example)
    seen.axes.order_permuted = permuted.of_order > 0
    return seen


def holders(name: str) -> list[str]:
    """The names of the modules that hold a place, from the nearest to the model itself, ""."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, -1, -1)]


def _with_holders(places: Mapping[str, nn.Module]) -> set[str]:
    return {each for name in places for each in (name, *holders(name))}


class _Permutations(TorchDispatchMode):
    """Counts operations that move the last axis of a tensor, or the first of a sequence.

    Splitting channels into heads or maps into windows moves neither.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.of_last = self.of_order = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if isinstance(func, torch._ops.HigherOrderOperator):
            return self._higher_order(func, args, kwargs or {})
        axes = _permutation(func, args)
        self.of_last += axes[-1:] != sorted(axes)[-1:]
        self.of_order += len(axes) == 3 and axes[0] != 0
        return func(*args, **(kwargs or {}))

    def _higher_order(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator of functions; only in the branch of torch.cond are permutations seen."""
        if func is not torch.ops.higher_order.cond:
            return func(*args, **kwargs)
        condition, if_true, if_false, operands = args
        with self:
            return (if_true if condition else if_false)(*operands)


def _permutation(func: Any, args: tuple[Any, ...]) -> list[int]:
    """The order of axes that an operation gives to a tensor of three or more; or none."""
    packet = func.overloadpacket
    if packet not in (torch.ops.aten.permute, torch.ops.aten.transpose) or args[0].ndim < 3:
        return []
    ndim = args[0].ndim
    if packet is torch.ops.aten.permute:
        return [axis % ndim for axis in args[1]]
    axes = list(range(ndim))
    axes[args[1]], axes[args[2]] = axes[args[2]], axes[args[1]]
    return axes


class _WatchAxes:
    """Notes how many axes a module gives, and whether the last axis is moved in its calls."""

    def __init__(self, axes: Axes, permuted: _Permutations) -> None:
        self.axes, self.permuted = axes, permuted
        self.counts: list[tuple[int, int]] = []

    def enter(self, module: nn.Module, inputs: object) -> None:
        del module, inputs
        self.counts.append((self.permuted.of_last, self.permuted.of_order))

    def leave(self, module: nn.Module, inputs: object, output: object) -> None:
        del inputs
        before = self.counts.pop()
        if isinstance(module, KEEPS_AXES):
            self.permuted.of_last, self.permuted.of_order = before
        if self.permuted.of_last > before[0]:
            self.axes.permuted_in.add(module)
        ndims = self.axes.output_ndims.setdefault(module, set())
        if isinstance(output, Tensor):
            ndims.add(output.ndim)


class _WatchCalls:
    """Notes the calls of one module."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.running: list[Call] = []

    def enter(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        arguments = parameters_of(module).by_name(inputs, named)
        first = next(iter(arguments.values()), None)
        self.running.append(Call(_shape(first), arguments))

    def leave(self, module: nn.Module, inputs: object, output: object) -> None:
        del module, inputs
        call = self.running.pop()
        call.after = _shape(output)
        self.calls.append(call)


def _shape(x: object) -> Shape:
    return tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__


def _first_axis(example: Example) -> int | None:
    """Of the first tensor that the model is called with."""
    values: Any = (example,) if isinstance(example, Tensor) else example
    for value in values.values() if isinstance(values, Mapping) else values:
        if isinstance(value, Tensor) and value.ndim:
            return value.shape[0]
    return None


def _call(model: nn.Module, example: Example) -> None:
    if isinstance(example, Mapping):
        model(**example)
    elif isinstance(example, tuple):
        model(*example)
    else:
        model(example)


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Evaluation without gradients; training modes and the random state come back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    # torch's own encoder layers would run as one operator and call none of their parts
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=_gpus(model)),
            torch.compiler.set_stance("force_eager"),  # compiled code shows no permutations
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, mode in modes:
            module.training = mode


def _gpus(model: nn.Module) -> list[int]:
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return [device.index for device in devices if device.index is not None]
