"""Mixers (attention and convolutions), each with its spec, and tools to inspect them."""

from quatrain.nn.attended import Attended, AttendedSpec
from quatrain.nn.attention_state import Explanation
from quatrain.nn.capture import capture, capture_offsets
from quatrain.nn.convolution import RegularConv, RegularConvSpec
from quatrain.nn.dcn import DCNv3, DCNv3Spec, DCNv4, DCNv4Spec
from quatrain.nn.deformable_attention import DeformableAttention, DeformableAttentionSpec
from quatrain.nn.deformable_conv import DeformableConv, DeformableConvSpec, SamplingOffsets
from quatrain.nn.dynamic_conv import (
    DynamicConv,
    DynamicConvSpec,
    LightweightConv,
    LightweightConvSpec,
)
from quatrain.nn.generalized_attention import AttentionSpec, GeneralizedAttention
from quatrain.nn.mixers import Mixer, parse_mixer
from quatrain.nn.mmcv import attention_from_mmcv
from quatrain.nn.multi_scale_attention import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttentionSpec,
)
from quatrain.nn.parameters import param_groups

__all__ = [
    "Attended",
    "AttendedSpec",
    "AttentionSpec",
    "DCNv3",
    "DCNv3Spec",
    "DCNv4",
    "DCNv4Spec",
    "DeformableAttention",
    "DeformableAttentionSpec",
    "DeformableConv",
    "DeformableConvSpec",
    "DynamicConv",
    "DynamicConvSpec",
    "Explanation",
    "GeneralizedAttention",
    "LightweightConv",
    "LightweightConvSpec",
    "Mixer",
    "MultiScaleDeformableAttention",
    "MultiScaleDeformableAttentionSpec",
    "RegularConv",
    "RegularConvSpec",
    "SamplingOffsets",
    "attention_from_mmcv",
    "capture",
    "capture_offsets",
    "param_groups",
    "parse_mixer",
]
