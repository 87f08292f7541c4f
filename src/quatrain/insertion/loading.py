"""Weights that were saved before a place was changed, loaded into what stands there now."""

from typing import Any, Protocol, cast

from torch import Tensor, nn

State = dict[str, Tensor]


class Wraps(Protocol):
    """A module that stands where another one stood."""

    @property
    def module_before(self) -> nn.Module:
        """The module that stood here before."""
        ...

    @property
    def shared_names(self) -> dict[str, str]:
        """Weights of the module from before that are used here too, and their names here."""
        ...


def load_earlier_weights(
    module: nn.Module,
    state: State,
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Rename weights that were saved before the surgery, and fill in those of the block.

    A hook of torch's, called before a module reads its part of a `state_dict`. Weights saved at
    any stage of several changes at one place are recognised by their names.
    """
    wrapper = cast("Wraps", module)
    stages = _stages(module, prefix)
    present = {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
    nearest = min(stages, key=lambda keys: len(keys ^ present))  # the first of equally near ones
    if nearest is stages[0] or (nearest and not nearest & present):
        return
    earlier = {key: state.pop(prefix + key) for key in sorted(present)}
    inside = any(part is wrapper.module_before for part in module.children())
    for key, name in wrapper.shared_names.items():
        if key in earlier:
            state[prefix + name] = earlier.pop(key)
    own = module.state_dict(prefix=prefix)
    state |= {
        key: value
        for key, value in own.items()
        if key.startswith(f"{prefix}block.") and key not in state
    }
    if inside:
        state |= {f"{prefix}original.{key}": value for key, value in earlier.items()}
    elif earlier:
        _load_aside(wrapper.module_before, earlier, prefix, metadata, (missing, unexpected, errors))
    del strict


def _stages(module: nn.Module, prefix: str) -> list[set[str]]:
    """The names of the weights of a place, now and before each change."""
    names = [{key.removeprefix(prefix) for key in module.state_dict(prefix=prefix)}]
    if not hasattr(type(module), "module_before"):
        return names
    return names + _stages(cast("Wraps", module).module_before, prefix)


def _load_aside(
    before: nn.Module,
    state: State,
    prefix: str,
    metadata: dict[str, Any],
    reports: tuple[list[str], list[str], list[str]],
) -> None:
    """Load weights into a module that is no part of the model, and report as torch would."""
    missing, unexpected, errors = reports
    assign = bool(metadata.get("assign_to_params_buffers", False))
    try:
        incompatible = before.load_state_dict(state, strict=False, assign=assign)
    except RuntimeError as error:
        errors.append(f"{prefix}: {error}")
        return
    missing.extend(prefix + key for key in incompatible.missing_keys)
    unexpected.extend(prefix + key for key in incompatible.unexpected_keys)
