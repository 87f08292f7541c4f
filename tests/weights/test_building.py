import threading

import pytest
import torch
from torch import nn

from quatrain.specs import SpecError
from quatrain.weights.building import build_for, expected_tensors


def test_a_module_that_the_tensors_fit_is_built():
    tensors = nn.Linear(3, 2).state_dict()
    before = torch.random.get_rng_state()
    module = build_for(tensors, lambda: nn.Linear(3, 2))
    assert module.weight.device.type == "cpu"
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tensors_of_another_shape_are_refused_without_memory_for_the_module():
    tensors = nn.Linear(3, 2).state_dict()
    with pytest.raises(ValueError, match=r"weight has shape \(2, 3\) in the file"):
        build_for(tensors, lambda: nn.Linear(2**20, 2**40))


def many_layers():
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(10**9)))


def many_parts():
    module = nn.Module()
    for number in range(10**9):
        module.add_module(str(number), nn.ReLU())
    return module


@pytest.mark.parametrize("build", [many_layers, many_parts])
def test_building_ends_at_many_more_parts_than_tensors(build):
    with pytest.raises(ValueError, match=r"more than 2,?0[42]0 modules and parameters"):
        expected_tensors(build, 2)


def test_other_threads_may_build_modules_meanwhile():
    def build():
        thread = threading.Thread(target=lambda: [nn.Linear(2, 2) for _ in range(5000)])
        thread.start()
        thread.join()
        return nn.Linear(2, 2)

    assert [*expected_tensors(build, 2)] == ["weight", "bias"]


def failing(error):
    def build():
        raise error

    return build


@pytest.mark.parametrize(
    "error",
    [SpecError("no", "field"), TypeError("no"), ValueError("no"), OverflowError("no"),
     RuntimeError("no"), MemoryError()],
)  # fmt: skip
def test_the_error_of_a_module_that_cannot_be_built_is_its_reason(error):
    with pytest.raises(ValueError, match=r"no|MemoryError"):
        expected_tensors(failing(error), 2)
