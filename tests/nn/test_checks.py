import numpy as np
import pytest

from laws import unchecked
from quatrain.nn import AttentionSpec, DeformableConvSpec, RegularConvSpec, parse_mixer
from quatrain.nn.checks import (
    MOST_CHANNELS,
    check_channels,
    check_divides,
    check_stepwise,
)
from quatrain.specs import SpecError

LONG = pytest.param(10**5000, id="many digits")
MIXERS = ["0010", "regular", "deformable", "dynamic", "lightweight", "0010+deformable"]
MIXERS += ["deformable-attention", "dcnv3"]


@pytest.mark.parametrize("name", MIXERS)
def test_channels_are_checked_before_parameters_are_created(name):
    for channels in (0, 2**62):
        with pytest.raises(SpecError) as caught:
            parse_mixer(name, heads=1).build(channels)
        assert caught.value.field == "channels"


@unchecked()
@pytest.mark.parametrize(
    "channels", [0, -16, True, MOST_CHANNELS + 16, LONG, "16", 16.0, None, AttentionSpec()]
)
def test_channels_are_a_positive_bounded_whole_number(channels):
    with pytest.raises(SpecError) as caught:
        check_channels("key_channels", channels)
    assert caught.value.field == "key_channels"
    check_channels("channels", MOST_CHANNELS)
    check_channels("channels", np.int64(16))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("dynamic@99999999999", "DynamicConvSpec.kernel"),
        ("lightweight@4097", "LightweightConvSpec.kernel"),
        ("regular@1000000000001", "RegularConvSpec.kernel"),
        ("deformable@0", "DeformableConvSpec.kernel"),
        ("dcnv3@4097", "DCNv3Spec.kernel"),
        ("0110@99999999999", "AttentionSpec.window"),
        ("0110@0", "AttentionSpec.window"),
    ],
)
def test_widths_of_kernels_and_windows_are_bounded(text, field):
    with pytest.raises(SpecError) as caught:
        parse_mixer(text)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "field"), [(AttentionSpec, "window"), (RegularConvSpec, "kernel")]
)
def test_widths_are_odd(kind, field):
    with pytest.raises(SpecError) as caught:
        kind(**{field: 4})
    assert caught.value.field == field
    assert "use 3 or 5" in str(caught.value)


@pytest.mark.parametrize("value", [True, False, 0, -3, 10**9])
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (AttentionSpec, "heads"),
        (AttentionSpec, "key_stride"),
        (RegularConvSpec, "groups"),
        (RegularConvSpec, "stride"),
        (RegularConvSpec, "dilation"),
        (DeformableConvSpec, "offset_groups"),
        (DeformableConvSpec, "kernel"),
    ],
)
def test_counts_are_positive_bounded_whole_numbers(kind, field, value):
    with pytest.raises(SpecError) as caught:
        kind(**{field: value})
    assert caught.value.field == f"{kind.__name__}.{field}"
    assert f"={value} should be" in str(caught.value)


@pytest.mark.parametrize(
    ("channels", "divisors"),
    [
        (24, "1, 2, 3, 4, 6, 8, 12, 24"),
        (1_000_000_007, "1, 1000000007"),
        (2**40, ", ".join(str(2**n) for n in range(16)) + ", ..."),
    ],
)
def test_a_number_that_does_not_divide_the_channels_is_refused_with_divisors(channels, divisors):
    with pytest.raises(SpecError) as caught:
        check_divides("heads", 7, channels)
    assert caught.value.field == "heads"
    assert str(caught.value).endswith(f"use {divisors}")
    check_divides("heads", 1, channels)


def test_step_by_step_decoding_is_for_sequences_without_strides():
    check_stepwise(1, "stride", 1)
    for ndim, stride, field in ((2, 1, "ndim"), (1, 2, "stride")):
        with pytest.raises(SpecError) as caught:
            check_stepwise(ndim, "stride", stride)
        assert caught.value.field == field


@unchecked()
def test_ndim_is_1_or_2():
    for ndim in (0, 3):
        with pytest.raises(SpecError) as caught:
            AttentionSpec().check_channels(16, ndim)
        assert caught.value.field == "ndim"
