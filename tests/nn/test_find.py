import pytest
from torch import nn

from laws import unchecked
from quatrain.nn.find import find, find_class
from quatrain.specs import InputError


def network():
    return nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 8, 3),
            "blocks": nn.Sequential(
                nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.Dropout(0.5)),
                nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)),
            ),
        }
    )


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("stem", ["stem"]),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        ("blocks.*.0", ["blocks.0.0", "blocks.1.0"]),
        ("blocks.?.1", ["blocks.0.1", "blocks.1.1"]),
        ("**.1", ["blocks.0.1", "blocks.1", "blocks.1.1"]),
        ("b**0", ["blocks.0", "blocks.0.0", "blocks.1.0"]),
    ],
)
def test_one_star_matches_within_a_part_and_two_across_parts(pattern, names):
    model = network()
    assert sorted(find(model, pattern)) == names
    assert all(model.get_submodule(name) is each for name, each in find(model, pattern).items())


def test_pattern_without_match_raises_with_similar_names():
    with pytest.raises(InputError) as caught:
        find(network(), "block.0")
    assert caught.value.field == "pattern"
    assert "blocks.0" in str(caught.value)
    with pytest.raises(InputError):
        find(nn.ReLU(), "x")


def test_modules_of_a_class_are_those_at_or_within_a_match():
    model = network()
    assert list(find_class(model, nn.Conv2d)) == ["stem", "blocks.0.0", "blocks.1.0"]
    assert list(find_class(model, nn.Conv2d, "blocks.1")) == ["blocks.1.0"]
    assert list(find_class(model, nn.Conv2d, "s*")) == ["stem"]
    assert find_class(model, nn.Linear) == {}


@pytest.mark.parametrize(
    ("kind", "at", "message"),
    [
        (nn.Dropout, "blocks.1", "at='blocks.1' matches no Dropout; use blocks.0.2"),
        (nn.Linear, "blocks.1", "matches no Linear; the model has none"),
        (nn.Conv2d, "block.0.0", "use .*blocks.0.0"),
    ],
)
def test_a_place_without_such_a_module_is_refused(kind, at, message):
    with pytest.raises(InputError, match=message):
        find_class(network(), kind, at)


def test_a_pattern_that_is_no_string_is_refused():
    with unchecked(), pytest.raises(InputError, match="pass a string"):
        find_class(network(), nn.Conv2d, ("stem",))
