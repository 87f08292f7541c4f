import pytest
from torch import nn

from quatrain.insertion import find
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
