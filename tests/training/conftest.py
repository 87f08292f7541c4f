"""A linear task that trains in milliseconds, also in other processes."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from quatrain.nn import GeneralizedAttention
from quatrain.training import InverseSqrt, Loss, Recipe

WIDTH = 3


class TinyObjective(nn.Module):
    """Squared error of a linear map of `x`, with dropout and an integer buffer."""

    def __init__(self, width=WIDTH, dropout=0.5):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x, y):
        if self.training:
            self.calls += 1
        error = self.linear(self.dropout(x)).float() - y
        return Loss(error.square().sum(), torch.tensor(float(len(x))))


class TinyAttention(nn.Module):
    """Squared error of attention over the numbers of a row as tokens."""

    def __init__(self, dropout):
        super().__init__()
        self.embedding, self.head = nn.Linear(1, 8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(dropout)
        self.attention = GeneralizedAttention(8, terms="1111", heads=2, ndim=1)

    def forward(self, x, y):
        tokens = self.dropout(self.embedding(x[..., None]))
        error = self.head(self.attention(tokens).mean(1)) - y
        return Loss(error.square().sum(), torch.tensor(float(len(x))))


class TinyTask:
    """Twenty numbered rows in batches of `size`; the last batch of an epoch may be smaller."""

    rate_unit = "rows"

    def __init__(
        self,
        *,
        size=3,
        width=WIDTH,
        dropout=0.5,
        attention=False,
        data=None,
        on_batch=None,
        **recipe,
    ):
        fields = {"steps": 12, "warmup_steps": 2, "report_every": 5, "checkpoint_every": 4}
        fields |= {"learning_rate": 0.05, "schedule": InverseSqrt()}
        self.recipe = Recipe(**(fields | recipe))
        self.size, self.width, self.dropout = size, width, dropout
        self.attention = attention
        self.data_hashes = data or {"rows": "0"}
        self.data_notes = {}
        self.on_batch = on_batch
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(20, width, generator=generator)
        self.y = self.x.sum(1, keepdim=True)

    def build(self):
        if self.attention:
            return TinyAttention(self.dropout)
        return TinyObjective(self.width, self.dropout)

    def batches(self, epoch):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(epoch))
        return [rows.tolist() for rows in order.split(self.size)]

    def collate(self, plan):
        if self.on_batch:
            self.on_batch(plan)
        return {"x": self.x[plan], "y": self.y[plan]}

    def monitor(self, objective):
        torch.rand(7)  # tasks may draw random numbers
        loss = objective(self.x, self.y)
        return {"valid_loss": float(loss.total), "in_training": float(objective.training)}


def lines_of(folder):
    """The log without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in {"seconds", "rate", "waiting"}}
        for line in lines
    ]


def weights_of(result):
    return {name: value.clone() for name, value in result.objective.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture
def tiny():
    return SimpleNamespace(
        Task=TinyTask, Objective=TinyObjective, lines_of=lines_of, weights_of=weights_of, same=same
    )


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """Every test here."""
