import pytest
from torch import nn

from quatrain.nn.modes import evaluation_mode, restored_modes


def model():
    parts = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(0.5)))
    parts[1].eval()
    return parts


def flags(module):
    return [each.training for each in module.modules()]


def test_evaluation_mode_restores_the_mode_of_each_module():
    parts = model()
    with evaluation_mode(parts):
        assert not any(flags(parts))
    assert flags(parts) == [True, True, False, False]


def test_modes_are_restored_after_an_error():
    parts = model()
    with pytest.raises(ZeroDivisionError), evaluation_mode(parts):
        raise ZeroDivisionError
    assert flags(parts) == [True, True, False, False]


def test_modes_set_within_the_block_are_restored():
    parts = model()
    with restored_modes(parts):
        parts.train()
    assert flags(parts) == [True, True, False, False]
