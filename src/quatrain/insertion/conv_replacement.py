"""Convert a convolution of torch to a mixer that shares its weight and bias."""

from typing import cast

from torch import nn

from quatrain.insertion.arguments import MixerArguments
from quatrain.insertion.example_pass import signature_of
from quatrain.insertion.shapes import ActivationShape
from quatrain.insertion.wrappers import ReplacementWrapper
from quatrain.nn.attended import Attended, AttendedSpec
from quatrain.nn.convolution import RegularConv
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.specs import SpecError


def converts(mixer: Mixer, module: nn.Module) -> bool:
    """Whether the mixer is, or begins with, a convolution that can use the weight of `module`."""
    return isinstance(module, nn.Conv1d | nn.Conv2d) and split_mixer(mixer)[0] is not None


def converted_spec(name: str, module: nn.Module, mixer: Mixer) -> tuple[ActivationShape, Mixer]:
    """The activation shape at a convolution, and the mixer with its kernel, stride and the like.

    The fields of the mixer must be at their defaults or as the convolution's.
    """
    convolution, _ = split_mixer(mixer)
    if convolution is None or not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise TypeError(f"{type(mixer).__name__} cannot replace a {type(module).__name__}")
    fields = {
        "kernel": module.kernel_size[0],
        "stride": module.stride[0],
        "dilation": module.dilation[0],
        "groups": module.groups,
        "bias": module.bias is not None,
    }
    ndim = len(module.kernel_size)
    padding = fields["dilation"] * (fields["kernel"] - 1) // 2
    if not (
        len(set(module.kernel_size)) == len(set(module.stride)) == len(set(module.dilation)) == 1
        and fields["kernel"] % 2 == 1
        and module.in_channels == module.out_channels
        and (module.padding == "same" or module.padding == (padding,) * ndim)
        and module.padding_mode == "zeros"
        and type(module).forward in (nn.Conv1d.forward, nn.Conv2d.forward)
        and isinstance(module.weight, nn.Parameter)
    ):
        required = "a plain square convolution of odd kernel, centred, with as many channels out"
        raise SpecError(f"{name} is not {required}, but {module}; choose another place", name)
    for field, value in fields.items():
        specified = getattr(convolution, field)
        if specified not in (type(convolution).model_fields[field].default, value):
            raise SpecError(f"{field}={specified}, but {value} at {name}; leave it out", field)
    spec = type(convolution).model_validate(convolution.model_dump() | fields)
    if isinstance(mixer, AttendedSpec):
        spec = mixer.model_copy(update={"convolution": spec})
    return ActivationShape(module.in_channels, ndim, "channels_first"), cast("Mixer", spec)


def replace_convolution(
    module: nn.Module, block: nn.Module, shape: ActivationShape
) -> ReplacementWrapper:
    """Wrap the block instead of a convolution, with the convolution's weight and bias."""
    part = block.convolution if isinstance(block, Attended) else block
    convolution = cast("RegularConv | DeformableConv", part)
    convolution.weight = cast("nn.Parameter", module.weight)
    convolution.bias = cast("nn.Parameter | None", module.bias)
    arguments = MixerArguments(signature_of(module))
    return ReplacementWrapper(module, block, shape, convolution, arguments)
