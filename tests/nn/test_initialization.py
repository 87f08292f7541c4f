import pytest
import torch
from torch import nn

from quatrain.nn.initialization import Projection, initialize_by_name


def drawn(*names, seed=0):
    parts = nn.ModuleDict({name: Projection(30, 20) for name in names})
    initialize_by_name(parts, seed)
    return {name: part.weight for name, part in parts.items()}


def test_a_part_draws_the_same_whatever_other_parts_there_are():
    alone, among = drawn("value"), drawn("key", "value", "query")
    assert torch.equal(alone["value"], among["value"])
    assert not torch.equal(among["key"], among["value"])


def test_a_module_draws_alone_as_it_draws_within_another():
    alone = Projection(30, 20)
    initialize_by_name(alone, 0, prefix="value")
    assert torch.equal(alone.weight, drawn("value")["value"])


def test_another_seed_draws_other_weights():
    assert not torch.equal(drawn("value")["value"], drawn("value", seed=1)["value"])


def test_the_random_state_is_left_as_it_was():
    torch.manual_seed(5)
    parts = nn.ModuleDict({"value": Projection(3, 2)})
    before = torch.get_rng_state()
    initialize_by_name(parts, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_whole_overrules_its_parts():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Projection(3, 2)

        def reset_parameters(self):
            nn.init.constant_(self.part.weight, 7.0)

    whole = Whole()
    initialize_by_name(whole, 0)
    assert bool((whole.part.weight == 7).all())


def test_a_projection_keeps_the_variance_of_what_it_reads():
    torch.manual_seed(0)
    layer = Projection(400, 300)
    assert layer.weight.var().item() == pytest.approx(1 / 400, rel=0.05)
    assert layer.weight.abs().max().item() <= (3 / 400) ** 0.5
    assert not layer.bias.any()
