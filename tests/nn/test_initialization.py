import pytest
import torch
from torch import nn

from quatrain.nn.initialization import Projection, initialize_by_name


def weights(*names, seed=0):
    parts = nn.ModuleDict({name: Projection(30, 20) for name in names})
    initialize_by_name(parts, seed)
    return {name: part.weight for name, part in parts.items()}


def test_the_weights_of_a_part_do_not_depend_on_other_parts():
    alone, together = weights("value"), weights("key", "value", "query")
    assert torch.equal(alone["value"], together["value"])
    assert not torch.equal(together["key"], together["value"])


def test_a_prefix_gives_a_module_the_weights_that_it_has_within_another():
    alone = Projection(30, 20)
    initialize_by_name(alone, 0, prefix="value")
    assert torch.equal(alone.weight, weights("value")["value"])


def test_weights_depend_on_the_seed():
    assert not torch.equal(weights("value")["value"], weights("value", seed=1)["value"])


def test_the_random_state_is_restored():
    torch.manual_seed(5)
    parts = nn.ModuleDict({"value": Projection(3, 2)})
    before = torch.get_rng_state()
    initialize_by_name(parts, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_parent_overwrites_its_children():
    class Parent(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Projection(3, 2)

        def reset_parameters(self):
            nn.init.constant_(self.part.weight, 7.0)

    parent = Parent()
    initialize_by_name(parent, 0)
    assert bool((parent.part.weight == 7).all())


def test_a_projection_has_weights_of_variance_1_over_inputs():
    torch.manual_seed(0)
    layer = Projection(400, 300)
    assert layer.weight.var().item() == pytest.approx(1 / 400, rel=0.05)
    assert layer.weight.abs().max().item() <= (3 / 400) ** 0.5
    assert not layer.bias.any()
