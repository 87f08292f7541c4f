"""Base classes of mixers: the spec that builds a module, and the module that reads a spec.

    GeneralizedAttention(256, terms="0110", heads=4)     # hyper-parameters by name
    AttentionSpec(terms="0110", heads=4).build(256)      # the same module, from its spec

The fields of the spec are the only list of hyper-parameters: a constructor validates its keyword
arguments by the spec, and its signature is derived from the spec.
"""

import inspect
from contextlib import nullcontext
from typing import Any, ClassVar, Generic, TypeVar, cast, get_type_hints

import torch

from quatrain.nn.checks import check_channels, check_divides
from quatrain.nn.tracing import check_not_scripted
from quatrain.specs import Spec, SpecError
from quatrain.weights import SavedModule

M = TypeVar("M", bound="MixerModule")


class MixerSpec(Generic[M]):
    """Base of the specs of mixers, together with `Spec`; M is the module that a spec builds.

    Source: our own.
    """

    module_class: ClassVar[type[Any]]
    """The module; set when its class is defined."""
    divisors: ClassVar[tuple[str, ...]] = ()
    """The fields that must divide the channels."""

    def build(
        self,
        channels: int,
        ndim: int = 2,
        key_channels: int | None = None,
        *,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> M:
        """Create the module for maps (`ndim` 2) or sequences (1); see `MixerModule`.

        Raises:
            SpecError: if the channels or the number of axes do not fit the spec.
        """
        module = self.module_class(
            channels, ndim=ndim, key_channels=key_channels, spec=self, device=device, dtype=dtype
        )
        return cast("M", module)

    def check_channels(self, channels: int, ndim: int) -> None:
        """Check the channels and the number of axes that a module of this spec would have.

        Raises:
            SpecError: if there is no such module.
        """
        if ndim not in (1, 2):
            raise SpecError(f"ndim={ndim} is invalid; use 1 for sequences or 2 for maps", "ndim")
        check_channels("channels", channels)
        for name in self.divisors:
            check_divides(name, getattr(self, name), channels)


class _ConstructorSignature:
    """Descriptor: the signature of a mixer's class, with the fields of its spec as keywords.

    A module has the signature of its call instead, and a subclass that defines `__init__` has the
    signature of that.
    """

    def __get__(self, module: "MixerModule | None", owner: "type[MixerModule]") -> Any:
        spec_class = getattr(owner, "spec_class", None)
        inherited = owner.__init__ is MixerModule.__init__
        if module is not None or spec_class is None or not inherited:
            raise AttributeError("__signature__")
        _, channels, *options, _ = inspect.signature(owner.__init__).parameters.values()
        types = get_type_hints(spec_class)
        fields = [
            field.replace(annotation=types[name])
            for name, field in inspect.signature(spec_class).parameters.items()
            if name != "kind"
        ]
        return inspect.Signature([channels, *fields, *options])


class MixerModule(SavedModule):
    """Base of all mixers: modules that exchange information between positions.

    `__init__(channels, *, ndim=2, key_channels=None, spec=None, device=None, dtype=None, **fields)`

    The hyper-parameters are keyword arguments with the names and defaults of the fields of the
    spec, or come from `spec`. Initial weights of a seed are the same on every device and in every
    type: with `device` they are drawn on the CPU (none on "meta") and moved, and they are drawn in
    torch's default type and converted to `dtype`.

    Source: our own.
    """

    channels: int
    ndim: int
    spec_class: ClassVar[type[Spec]]
    takes_keys: ClassVar[bool] = False
    """Whether keys may have other channels than queries."""
    __signature__: ClassVar[_ConstructorSignature] = _ConstructorSignature()
    __prepare_scriptable__ = check_not_scripted

    def __init_subclass__(cls, spec: type[MixerSpec[Any]] | None = None, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if spec is None:
            return
        other = vars(spec).get("module_class", cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{spec.__name__} builds {other.__name__}: use a subclass of the spec")
        cls.spec_class = cast("type[Spec]", spec)
        spec.module_class = cls

    def __init__(
        self,
        channels: int,
        *,
        ndim: int = 2,
        key_channels: int | None = None,
        spec: Any = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **hyperparameters: Any,
    ) -> None:
        super().__init__()
        self.spec: Any = self._read_spec(spec, hyperparameters)
        self.spec.check_channels(channels, ndim)
        self.channels, self.ndim = channels, ndim
        self.key_channels: int = channels if key_channels is None else key_channels
        check_channels("key_channels", self.key_channels)
        if not self.takes_keys and self.key_channels != channels:
            text = f"key_channels={key_channels} differs from channels={channels}"
            reason = f"{type(self).__name__} has no separate keys; leave it out"
            raise SpecError(f"{text}, but {reason}", "key_channels")
        on_meta = device is not None and torch.device(device).type == "meta"
        with nullcontext() if device is None else torch.device("meta" if on_meta else "cpu"):
            self._create_parameters()
        if device is not None or dtype is not None:
            self.to(device=device, dtype=dtype)

    def _create_parameters(self) -> None:
        """Create and initialize parameters and parts, from `spec`, `channels` and `ndim`."""
        raise NotImplementedError

    def _build_arguments(self) -> dict[str, int]:
        sizes = {"channels": self.channels, "ndim": self.ndim}
        return sizes | ({"key_channels": self.key_channels} if self.takes_keys else {})

    @classmethod
    def _read_spec(cls, spec: object, hyperparameters: dict[str, Any]) -> Spec:
        if spec is None:
            return cls.spec_class(**hyperparameters)
        if not isinstance(spec, cls.spec_class):
            kind, needed = type(spec).__name__, cls.spec_class.__name__
            raise SpecError(f"spec is a {kind}, but {cls.__name__} needs {needed}", "spec")
        if hyperparameters:
            fields = ", ".join(hyperparameters)
            raise SpecError(f"{fields} cannot be combined with spec; set them in the spec", "spec")
        return spec

    def extra_repr(self) -> str:
        """The channels, the number of axes, and the fields of the spec that are set."""
        keys = f", key_channels={self.key_channels}" * (self.key_channels != self.channels)
        fields = (
            f", {name}={value}"
            for name, value in self.spec
            if name != "kind" and value not in (None, False) and not isinstance(value, Spec)
        )
        return f"{self.channels}, ndim={self.ndim}{keys}{''.join(fields)}"
