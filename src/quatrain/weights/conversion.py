"""Rename and reshape the tensors of another library, and list those that do not fit.

sources = {"mixer.query.weight": Source("query_conv.weight", flatten_weight), ...}
converted = convert_tensors(tensors, sources, block.state_dict(), "r50.pth", "an attention block")
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from quatrain.specs import DataError
from quatrain.weights.matching import describe_misfits, misfits


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Source:
    """The tensor of a file that becomes one of a model, and the function that converts it."""

    name: str
    convert: Callable[[Tensor], Tensor] = _unchanged


def convert_tensors(
    tensors: Mapping[str, Tensor],
    sources: Mapping[str, Source],
    expected: Mapping[str, Tensor],
    file: str,
    target: str,
) -> dict[str, Tensor]:
    """The state_dict of a model, from the tensors of a file.

    Args:
        tensors: the tensors of the file, by their names in it.
        sources: the source of each tensor of the model, by its name in the model.
        expected: the state_dict of the model, possibly on the meta device.
        file: the file, for the message.
        target: the model, for the message.

    Raises:
        DataError: if tensors are missing, left over, of another shape or type, or not finite; the
            message lists them by their names in the file.
    """
    names = {source.name for source in sources.values()}
    problems = [f"{name} is missing" for name in sorted(names - tensors.keys())]
    problems += [f"{name} is not in this model" for name in tensors if name not in names]
    converted: dict[str, Tensor] = {}
    for name, source in sources.items():
        if source.name not in tensors:
            continue
        tensor = tensors[source.name]
        try:
            converted[name] = source.convert(tensor)
        except (RuntimeError, IndexError, ValueError):
            problems.append(f"{source.name} has shape {tuple(tensor.shape)}")
            continue
        found = misfits({source.name: converted[name]}, {source.name: expected[name]})
        if not found and not tensor.is_meta and not tensor.isfinite().all():
            found = [f"{source.name} has NaN or infinite numbers"]
        problems += found
    if problems:
        text = f"the tensors of {file} do not fit {target} ({describe_misfits(problems)})"
        raise DataError(f"{text}; use a checkpoint of this kind of network", file)
    return converted
