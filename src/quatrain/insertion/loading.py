"""Load weights that were saved before a module was wrapped into its wrapper."""

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from quatrain.insertion.wrappers import Wrapper

State = dict[str, Tensor]


def load_unwrapped_weights(
    module: nn.Module,
    state: State,
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    *reports: list[str],
) -> None:
    """Rename weights that were saved without the wrapper, and add those of its block.

    A pre-hook of `load_state_dict`. After several changes at one place, the names of the weights
    tell at which stage they were saved.
    """
    del strict
    wrapper = cast("Wrapper", module)
    stages = _stages(module, prefix)
    present = {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
    nearest = min(stages, key=lambda keys: len(keys ^ present))  # the latest of equally near ones
    if nearest is stages[0] or (nearest and not nearest & present):
        return
    saved = {key: state.pop(prefix + key) for key in sorted(present)}
    for key, name in wrapper.shared_names.items():
        if key in saved:
            state[prefix + name] = saved.pop(key)
    for key, value in module.state_dict(prefix=prefix).items():
        if key.startswith(f"{prefix}block."):
            state.setdefault(key, value)
    if any(part is wrapper.wrapped for part in module.children()):
        state |= {f"{prefix}original.{key}": value for key, value in saved.items()}
    elif saved:
        _load_replaced(wrapper.wrapped, saved, prefix, metadata, *reports)


def _stages(module: nn.Module, prefix: str) -> list[set[str]]:
    """The names of the weights of a place, now and before each change."""
    names = [{key.removeprefix(prefix) for key in module.state_dict(prefix=prefix)}]
    if not hasattr(type(module), "wrapped"):
        return names
    return names + _stages(cast("Wrapper", module).wrapped, prefix)


def _load_replaced(
    module: nn.Module,
    state: State,
    prefix: str,
    metadata: dict[str, Any],
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Load weights into a module outside the model, and report names and errors as torch does."""
    assign = bool(metadata.get("assign_to_params_buffers", False))
    try:
        incompatible = module.load_state_dict(state, strict=False, assign=assign)
    except RuntimeError as error:
        errors.append(f"{prefix}: {error}")
        return
    missing.extend(prefix + key for key in incompatible.missing_keys)
    unexpected.extend(prefix + key for key in incompatible.unexpected_keys)
