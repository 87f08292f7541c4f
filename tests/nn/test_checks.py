import time

import pytest

from quatrain.nn import AttentionSpec, DeformableConvSpec, RegularConvSpec, parse_mixer
from quatrain.nn.checks import MOST_CHANNELS, check_channels, check_divides, shown
from quatrain.specs import SpecError

LONG = pytest.param(10**5000, id="of many digits")
MIXERS = ["0010", "regular", "deformable", "dynamic", "lightweight", "0010+deformable"]


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("channels", [0, -16, True, MOST_CHANNELS + 16, LONG])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_width_that_no_module_has_is_refused_before_anything_is_made(name, channels, ndim):
    with pytest.raises(SpecError, match=r"^channels is .*, expected a number from 1 to"):
        parse_mixer(name, heads=1).build(channels, ndim)


@pytest.mark.parametrize("channels", [0, -1, True, 10**12])
def test_keys_of_a_width_that_none_have_are_refused(channels):
    with pytest.raises(SpecError, match=r"^key_channels is .*, expected a number from 1 to"):
        AttentionSpec(heads=1).build(8, key_channels=channels)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("dynamic@99999999999", "kernel"),
        ("lightweight@4097", "kernel"),
        ("regular@1000000000001", "kernel"),
        ("deformable@0", "kernel"),
        ("0110@99999999999", "window"),
        ("0110@0", "window"),
    ],
)
def test_a_window_beyond_all_bounds_is_refused(text, field):
    with pytest.raises(SpecError, match=rf"\.{field} is \d+, expected"):
        parse_mixer(text)


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
def test_a_number_that_is_none_is_refused_by_name(kind, field, value):
    with pytest.raises(SpecError, match=rf"^{kind.__name__}\.{field} is {value}, expected "):
        kind(**{field: value})


def test_the_divisors_of_a_large_width_are_found_at_once_and_not_all_named():
    started = time.perf_counter()
    with pytest.raises(SpecError, match=r"choose of 1, 2, 4, 8, .*, \.\.\.\.$"):
        check_divides("heads", 7, 2**40)
    with pytest.raises(SpecError, match=r"choose of 1, 1000000007\.$"):
        check_divides("heads", 7, 1_000_000_007)
    assert time.perf_counter() - started < 5
    with pytest.raises(SpecError, match=r"choose of 1, 2, 3, 4, 6, 8, 12, 24\.$"):
        check_divides("groups", 16, 24)
    check_divides("heads", 8, 24)
    check_channels("channels", MOST_CHANNELS)


def test_thousands_of_digits_are_not_repeated():
    assert shown(10**12) == 10**12
    assert shown(10**5000) == "of 16610 bits"
