"""Run one example through a model, and record calls of its modules and permutations of axes."""

import inspect
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from quatrain.nn.convolution import Convolution
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.modes import unfused_evaluation
from quatrain.specs import InputError

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""The input of a model: one tensor, several arguments, or arguments by name."""
Shape = tuple[int, ...] | str
"""The shape of a tensor, or the class name of another value."""

_KEEP_AXES = (
    nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
    nn.TransformerEncoder, nn.TransformerDecoder, nn.Transformer, GeneralizedAttention, Convolution,
)  # fmt: skip
"""Modules whose output has the axes of their input, whatever they permute inside."""


@dataclass(frozen=True)
class Signature:
    """The names and defaults of the arguments of a module's `forward`."""

    positional: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one call by their names; the first argument comes first."""
        names = [*self.positional, *(f"argument {n + 1}" for n in range(len(args)))]
        arguments = dict(zip(names, args, strict=False))
        arguments |= {name: kwargs[name] for name in self.positional if name in kwargs}
        return arguments | dict(kwargs)

    def is_unset(self, name: str, value: object) -> bool:
        """Whether the value is None, False or the default, so that it changes nothing."""
        default = self.defaults.get(name)
        is_default = type(default) is type(value) and default == value
        return value is None or value is False or is_default


def signature_of(module: nn.Module) -> Signature:
    """The signature of a module's `forward`; for a wrapper, that of the wrapped module."""
    wrapped = getattr(module.__dict__.get("arguments"), "signature", None)
    if isinstance(wrapped, Signature):
        return wrapped
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # scripted modules have none
        return Signature()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Signature(
        tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY),
        frozenset(p.name for p in named),
        {p.name: p.default for p in named if isinstance(p.default, int | float | str | tuple)},
    )


@dataclass
class Call:
    """One call of a module: the shape of its first argument and first output, and all arguments."""

    before: Shape
    arguments: dict[str, Any]
    after: Shape = "nothing"
    outputs: int = 0
    """The length of an output that is a tuple, whose first value counts; 0 for other outputs."""


@dataclass
class ExamplePass:
    """The record of one forward pass of a model."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    """The calls of the requested modules and of those that contain them, by name."""
    output_ndims: dict[nn.Module, set[int]] = field(default_factory=dict)
    """The numbers of axes of each module's outputs; a module that did not run is missing."""
    permuting: set[nn.Module] = field(default_factory=set)
    """Modules whose calls move the last axis of a tensor of three or more axes."""
    permutes_batch: bool = False
    """Whether the first axis of a sequence is moved anywhere."""
    batch: int | None = None
    """The size of the first axis of the model's first tensor."""

    def outputs(self, name: str) -> int:
        """The length of the tuple that a module returns, 0 if it returns no tuple.

        Raises:
            InputError: if its calls return tuples of different lengths.
        """
        lengths = {call.outputs for call in self.calls.get(name, ())}
        if len(lengths) > 1:
            shown = ", ".join(map(str, sorted(lengths)))
            raise InputError(f"{name} returns {shown} values in its calls; choose another", name)
        return max(lengths, default=0)


def run_example(model: nn.Module, names: Iterable[str], example: Example) -> ExamplePass:
    """Run the model once in evaluation mode, and keep its modes and the random state.

    The calls of the named modules and of those around them are recorded.
    """
    kwargs = example if isinstance(example, Mapping) else {}
    positional = () if isinstance(example, Mapping) else example
    args = positional if isinstance(positional, tuple) else (positional,)
    tensors = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim)
    run = ExamplePass(batch=next((x.shape[0] for x in tensors), None))
    permutations = _Permutations()
    calls: dict[nn.Module, list[Call]] = {}
    for name in names:
        for path in (name, *ancestors(name)):
            run.calls[path] = calls.setdefault(model.get_submodule(path), [])
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                continue
            recorder = _Recorder(run, permutations, calls.get(module))
            before = module.register_forward_pre_hook(recorder.enter, with_kwargs=True)
            hooks.enter_context(before)
            hooks.enter_context(module.register_forward_hook(recorder.leave))
        gpus = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
        with (
            unfused_evaluation(model),
            torch.no_grad(),
            torch.random.fork_rng(devices=list(gpus)),
            permutations,
        ):
            model(*args, **kwargs)
    run.permutes_batch = permutations.of_first > 0
    return run


def ancestors(name: str) -> list[str]:
    """The names of the modules that contain a module, from its parent to the model, ""."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, -1, -1)]


class _Permutations(TorchDispatchMode):
    """Counts operators that move the last axis of a tensor, or the first of a sequence.

    Splitting channels into heads or maps into windows moves neither.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.of_last = self.of_first = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.HigherOrderOperator):
            order = _permutation(func, args)
            self.of_last += order[-1:] != sorted(order)[-1:]
            self.of_first += len(order) == 3 and order[0] != 0
            return func(*args, **kwargs)
        if func is not torch.ops.higher_order.cond:
            return func(*args, **kwargs)
        condition, if_true, if_false, operands = args
        with self:  # which counts in the branch taken
            return (if_true if condition else if_false)(*operands)


def _permutation(func: Any, args: tuple[Any, ...]) -> list[int]:
    """The order of axes after an operator on three or more axes; empty for other operators."""
    packet = func.overloadpacket
    if packet not in (torch.ops.aten.permute, torch.ops.aten.transpose) or args[0].ndim < 3:
        return []
    ndim = args[0].ndim
    if packet is torch.ops.aten.permute:
        return [axis % ndim for axis in args[1]]
    order = list(range(ndim))
    order[args[1]], order[args[2]] = order[args[2]], order[args[1]]
    return order


class _Recorder:
    """Hooks of one module that record its calls, the axes of its outputs, and permutations."""

    def __init__(
        self, run: ExamplePass, permutations: _Permutations, calls: list[Call] | None
    ) -> None:
        self.run, self.permutations, self.calls = run, permutations, calls
        self.running: list[tuple[Call | None, tuple[int, int]]] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = None
        if self.calls is not None:
            arguments = signature_of(module).bind(args, kwargs)
            call = Call(_shape(next(iter(arguments.values()), None)), arguments)
        self.running.append((call, (self.permutations.of_last, self.permutations.of_first)))

    def leave(self, module: nn.Module, args: object, output: object) -> None:
        del args
        call, before = self.running.pop()
        if isinstance(module, _KEEP_AXES):
            self.permutations.of_last, self.permutations.of_first = before
        if self.permutations.of_last > before[0]:
            self.run.permuting.add(module)
        ndims = self.run.output_ndims.setdefault(module, set())
        if isinstance(output, Tensor):
            ndims.add(output.ndim)
        if self.calls is not None and call is not None:
            values = output if type(output) is tuple else ()
            call.outputs = len(values)
            call.after = _shape(values[0] if values else output)
            self.calls.append(call)


def _shape(x: object) -> Shape:
    return tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
