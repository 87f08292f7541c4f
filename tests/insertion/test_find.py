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
    ("pattern", "found"),
    [
        ("stem", ["stem"]),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        ("blocks.*.0", ["blocks.0.0", "blocks.1.0"]),
        ("blocks.?.1", ["blocks.0.1", "blocks.1.1"]),
        ("**.1", ["blocks.0.1", "blocks.1", "blocks.1.1"]),
        ("b**0", ["blocks.0", "blocks.0.0", "blocks.1.0"]),
    ],
)
def test_a_star_stays_within_a_part_of_the_name_and_two_do_not(pattern, found):
    model = network()
    assert sorted(find(model, pattern)) == found
    assert all(model.get_submodule(name) is each for name, each in find(model, pattern).items())


def test_a_pattern_that_matches_nothing_names_what_is_near():
    with pytest.raises(InputError, match=r'pattern is "block\.0".*blocks\.0'):
        find(network(), "block.0")
    with pytest.raises(InputError, match="the model has no part"):
        find(nn.ReLU(), "x")
