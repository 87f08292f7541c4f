import pytest
import torch
from torch import nn

from quatrain.nn import DeformableConvSpec
from quatrain.nn.layers import Projection
from quatrain.nn.parameters import initialize_by_name, param_groups
from quatrain.specs import SpecError


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


def test_a_module_without_values_is_not_initialized(monkeypatch):
    parts = nn.ModuleDict({"value": Projection(3, 2)}).to("meta")
    monkeypatch.setattr(Projection, "reset_parameters", lambda _: pytest.fail("initialized"))
    initialize_by_name(parts, 0)


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


class Scaled(nn.Module):
    lr_scales = {"slow": 0.1}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)


def test_parameters_are_grouped_by_their_learning_rate():
    module = nn.Sequential(Scaled(), nn.Linear(2, 2))
    fast, slow = sorted(param_groups(module, 0.5, 0.01), key=lambda group: -group["lr"])
    assert slow == {"params": [*module[0].slow.parameters()], "lr": 0.05, "lr_scale": 0.1} | {
        "weight_decay": 0.01
    }
    assert fast["params"] == [*module[0].fast.parameters(), *module[1].parameters()]
    assert (fast["lr"], fast["lr_scale"]) == (0.5, 1.0)


def test_weight_decay_is_left_to_the_optimizer_by_default():
    optimizer = torch.optim.AdamW(param_groups(Scaled(), 0.5))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01}
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.05, 0.5]


def test_schedulers_of_torch_keep_the_ratio_between_groups():
    optimizer = torch.optim.SGD(param_groups(Scaled(), 0.5))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    slow, fast = sorted(group["lr"] for group in optimizer.param_groups)
    assert (slow, fast) == (0.1 * 0.05, 0.1 * 0.5)


def test_offsets_of_a_deformable_convolution_learn_at_a_tenth_of_the_rate():
    module = DeformableConvSpec().build(4, ndim=2)
    scales = {
        id(p): group["lr_scale"] for group in param_groups(module, 1.0) for p in group["params"]
    }
    offsets = {id(parameter) for parameter in module.offset.parameters()}
    assert {scales[name] for name in offsets} == {0.1}
    assert {scale for name, scale in scales.items() if name not in offsets} == {1.0}


def test_scales_under_the_name_of_an_older_version_are_refused():
    module = nn.Linear(2, 2)
    module.rate_factors = {"weight": 0.1}
    with pytest.raises(SpecError) as error:
        param_groups(nn.Sequential(module), lr=1.0)
    assert error.value.field == "Linear.rate_factors"
