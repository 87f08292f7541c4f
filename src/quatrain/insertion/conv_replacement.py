"""A convolution of ours in the place of torch's own, with the weight that this one has learnt."""

from typing import cast

from torch import nn

from quatrain.insertion.arguments import Reads, parameters_of
from quatrain.insertion.layouts import Layout
from quatrain.insertion.shapes import ActivationShape
from quatrain.insertion.wrappers import ReplacementWrapper
from quatrain.nn.attended import Attended, AttendedSpec
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.regular_conv import RegularConv
from quatrain.specs import SpecError


def takes_over(mixer: Mixer, module: nn.Module) -> bool:
    """Whether the mixer is, or begins with, a convolution that can use the weight of `module`."""
    return isinstance(module, nn.Conv1d | nn.Conv2d) and split_mixer(mixer)[0] is not None


def fitted(name: str, module: nn.Module, mixer: Mixer) -> tuple[ActivationShape, Mixer]:
    """The width of a convolution, and the mixer with its kernel, stride, dilation, groups, bias.

    Args:
        name: the place, for the errors.
        module: the convolution.
        mixer: what takes its place; what differs from its default must be as the convolution has
            it.

    Raises:
        SpecError: if the spec says otherwise, or no spec can express the convolution.
    """
    convolution, _ = split_mixer(mixer)
    if convolution is None or not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise TypeError(f"{type(mixer).__name__} cannot take over a {type(module).__name__}")
    taps = {
        "kernel": module.kernel_size[0],
        "stride": module.stride[0],
        "dilation": module.dilation[0],
        "groups": module.groups,
        "bias": module.bias is not None,
    }
    ndim = len(module.kernel_size)
    padding = taps["dilation"] * (taps["kernel"] - 1) // 2
    if not (
        len(set(module.kernel_size)) == len(set(module.stride)) == len(set(module.dilation)) == 1
        and taps["kernel"] % 2 == 1
        and module.in_channels == module.out_channels
        and (module.padding == "same" or module.padding == (padding,) * ndim)
        and module.padding_mode == "zeros"
        and type(module).forward in (nn.Conv1d.forward, nn.Conv2d.forward)
        and isinstance(module.weight, nn.Parameter)
    ):
        expected = "a square, odd, centred convolution of torch's that keeps its channels"
        raise SpecError(name, module, expected, "choose another place")
    for field, value in taps.items():
        wanted, default = getattr(convolution, field), type(convolution).model_fields[field].default
        if wanted not in (default, value):
            remedy = "leave it out, to be read off the convolution"
            raise SpecError(field, wanted, f"{value}, as {name} has it", remedy)
    spec = type(convolution).model_validate(convolution.model_dump() | taps)
    if isinstance(mixer, AttendedSpec):
        spec = mixer.model_copy(update={"convolution": spec})
    return ActivationShape(module.in_channels, ndim, "channels_first"), cast("Mixer", spec)


def stand_in(
    module: nn.Module, block: nn.Module, layout: Layout, reads: Reads | None = None
) -> ReplacementWrapper:
    """The block in the place of a convolution, whose weight and bias it uses from now on."""
    part = block.convolution if isinstance(block, Attended) else block
    convolution = cast("RegularConv | DeformableConv", part)
    convolution.weight = cast("nn.Parameter", module.weight)
    convolution.bias = cast("nn.Parameter | None", module.bias)
    return ReplacementWrapper(
        module, block, layout, convolution, reads or Reads(parameters_of(module))
    )
