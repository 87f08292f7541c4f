import sys

import pytest
import torch
from torch import nn

from quatrain.specs import MissingPackageError, SpecError, StudyError
from quatrain.training import devices as module
from quatrain.training.devices import Devices, check_device, devices_of


@pytest.mark.parametrize("device", ["cpux", "cpu:cpu", "", "cuda:99"])
def test_a_device_that_this_machine_lacks_is_refused(device):
    with pytest.raises(StudyError) as raised:
        Devices(device, "float32")
    assert raised.value.field == "device"
    assert repr(device) in str(raised.value)


def test_a_device_that_exists_is_returned():
    assert check_device("cpu") == torch.device("cpu")


def test_processes_on_a_cpu_share_it():
    assert devices_of("cpu", 3) == [torch.device("cpu")] * 3
    with pytest.raises(StudyError):
        devices_of("cpux", 2)


@pytest.mark.parametrize(
    ("name", "processes", "expected"),
    [
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 3, ["cuda:1", "cuda:2", "cuda:3"]),
        ("cuda:2", 3, None),
        ("cuda:0", 5, None),
    ],
)
def test_each_process_has_the_next_gpu(name, processes, expected, monkeypatch):
    """On a machine with four GPUs."""
    monkeypatch.setattr(module, "check_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    if expected is None:
        with pytest.raises(StudyError) as raised:
            devices_of(name, processes)
        assert raised.value.field == "Recipe.processes"
    else:
        assert devices_of(name, processes) == [torch.device(each) for each in expected]


def test_a_training_has_the_processes_of_its_recipe():
    with pytest.raises(SpecError) as raised:
        Devices("cpu", "float32", processes=2)
    assert raised.value.field == "Recipe.processes"


def test_training_needs_the_extra_that_installs_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingPackageError) as raised:
        Devices("cpu", "float32")
    assert "quatrain[study]" in str(raised.value)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precisions_follow_each_other_in_one_process(precision):
    devices = Devices("cpu", precision)
    layer = nn.Linear(2, 2)
    with devices.autocast():
        assert layer(torch.ones(1, 2)).dtype == getattr(torch, precision)
    assert layer(torch.ones(1, 2)).dtype == torch.float32
    assert devices.scaler.is_enabled() == (precision == "float16")


def test_a_single_process_is_the_main_one():
    devices = Devices("cpu", "float32")
    assert (devices.process, devices.processes, devices.is_main) == (0, 1, True)
    assert torch.equal(devices.sum(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))


def stepped(clip_norm, precision="float32"):
    """A weight's change by one step of SGD (rate 1) from the gradient (6, 8), times 0.5."""
    devices, weight = Devices("cpu", precision), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    devices.backward((weight * torch.tensor([6.0, 8.0])).sum())
    devices.step(optimizer, torch.tensor(0.5), clip_norm)
    return -weight.detach()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_gradients_are_scaled_and_then_clipped(precision):
    assert torch.equal(stepped(None, precision), torch.tensor([3.0, 4.0]))
    assert torch.equal(stepped(6.0, precision), torch.tensor([3.0, 4.0]))
    assert torch.allclose(stepped(1.0, precision), torch.tensor([0.6, 0.8]), atol=1e-5)


def test_a_step_that_overflows_float16_is_skipped_and_the_loss_scale_lowered():
    devices, weight = Devices("cpu", "float16"), nn.Parameter(torch.zeros(1))
    optimizer, before = torch.optim.SGD([weight], lr=1.0), devices.scaler.get_scale()
    devices.backward((weight * 1e38).sum())
    devices.step(optimizer, torch.tensor(1.0), 1.0)
    assert weight.item() == 0.0
    assert devices.scaler.get_scale() < before
