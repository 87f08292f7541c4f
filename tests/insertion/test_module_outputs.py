import threading

import pytest
import torch
from torch import nn

from quatrain.insertion.module_outputs import outputs_of_modules
from quatrain.specs import InputError


class Unusual(nn.Module):
    """A network with modules whose outputs are no features of one image."""

    def __init__(self):
        super().__init__()
        self.spare, self.twice = nn.Identity(), nn.Identity()
        self.recurrent, self.flat = nn.GRU(4, 4), nn.Flatten(0)

    def forward(self, x):
        self.recurrent(x[:, 0])
        self.flat(x)
        return self.twice(self.twice(x))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("spare", "spare is not called by the model; choose"),
        ("twice", "twice is called twice for one image; choose"),
        ("recurrent", "recurrent returns a tuple, not one dense tensor; choose"),
        ("flat", "flat returns shape (60,) for one image; choose"),
    ],
)
def test_modules_without_one_output_of_the_image_are_refused(name, problem):
    model = Unusual()
    with pytest.raises(InputError) as info:
        outputs_of_modules(model, [name], torch.randn(3, 5, 4))
    assert problem in str(info.value)
    assert info.value.field == name
    assert not any(part._forward_hooks for part in model.modules())


def test_outputs_are_those_before_a_later_change_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    image = torch.randn(3, 6, 5)
    outputs = outputs_of_modules(model, ["0"], image)
    assert torch.equal(outputs["0"], model[0](image[None])[0].detach())
    assert (outputs["0"] < 0).any()
    assert not outputs["0"].requires_grad


def test_parts_of_a_fused_layer_are_called():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    outputs = outputs_of_modules(layer, ["linear1"], torch.randn(5, 8))
    assert outputs["linear1"].shape == (5, 16)


def test_autocast_does_not_reach_the_model():
    model = nn.Sequential(nn.Linear(4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = outputs_of_modules(model, ["0"], torch.randn(4))
    assert outputs["0"].dtype == torch.float32


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_on_any_device_has_shapes_for_an_image_on_meta(device):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to(device)
    outputs = outputs_of_modules(model, ["1"], torch.empty(3, 6, 5, device="meta"))
    assert outputs["1"].is_meta
    assert outputs["1"].shape == (4, 6, 5)


def test_threads_do_not_mix_outputs_or_leave_a_mode():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    inputs = [torch.randn(4, generator=torch.Generator().manual_seed(n)) for n in range(40)]
    results = {}

    def compute(start):
        for number in range(start, 40, 4):
            results[number] = outputs_of_modules(model, ["1"], inputs[number])["1"]

    threads = [threading.Thread(target=compute, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [model[0](x[None])[0].detach() for x in inputs]
    assert all(torch.equal(results[n], expected[n]) for n in range(40))
    assert torch.backends.mha.get_fastpath_enabled()
    assert model.training
    assert model[1].training
