import pytest
import torch
from torch import nn

from quatrain.nn import DeformableConvSpec, param_groups
from quatrain.specs import SpecError


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
