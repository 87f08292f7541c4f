import textwrap

import pytest

STUDY = '''
import torch
from torch import nn

import quatrain

RATE = 0.1
images = torch.linspace(-1, 1, 2 * 3 * 4 * 5).view(2, 3, 4, 5)


class Net(nn.Module):
    """A network."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.second(self.first(x).relu()).mean((2, 3))


def train(model, seed, device):
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(3):
        optimizer.zero_grad()
        noise = torch.rand(2, 2, device=device)
        (model(images.to(device)) - noise).square().mean().backward()
        optimizer.step()


def evaluate(model, device):
    with torch.no_grad():
        return {"error": model(images.to(device)).square().mean(), "constant": 1}


study = quatrain.ablate(
    build=Net, train=train, evaluate=evaluate, before="second", example=images[:1],
    mixers=["w/o", "0010", "1111"], heads=2, seeds=2, metric="error", lower_is_better=True,
    margin=0.1, settings={"steps": 3},
)

if __name__ == "__main__":
    study.run(out="runs/mine")
'''


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    """Writes the study file, with texts replaced, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(*replacements, name="mine.py"):
        text = textwrap.dedent(STUDY)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
