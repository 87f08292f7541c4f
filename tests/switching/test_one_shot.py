import torch
from torch import nn

from quatrain.nn import AttentionSpec
from quatrain.specs import ALL_TERM_SETS
from quatrain.switching.draws import draw_terms
from quatrain.switching.one_shot import one_shot


class Classifier(nn.Module):
    """Says which of two tokens is in the sequence; the classes differ in one key only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(4, 16)
        self.attention = AttentionSpec(terms="1111", heads=2).build(16, ndim=1)
        self.head = nn.Linear(16, 2)

    def forward(self, tokens):
        return self.head(self.attention(self.embedding(tokens)).mean(1))


def batch(seed):
    """Sequences of token 0 with one token 1 or 2, and the class of that token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.zeros(16, 12, dtype=torch.long)
    classes = torch.randint(2, (16,), generator=generator)
    tokens[torch.arange(16), torch.randint(12, (16,), generator=generator)] = 1 + classes
    return tokens, classes


def train(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(64):
        tokens, classes = batch(step)
        model.drawn.append(model.attention.terms)
        loss = nn.functional.cross_entropy(model(tokens), classes)
        model.drawn[-1] = model.attention.terms
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(model):
    tokens, classes = batch(10_000)
    return {"loss": nn.functional.cross_entropy(model(tokens), classes).item()}


def test_one_training_gives_a_metric_for_each_set():
    model = Classifier().train()
    model.drawn = []
    results = one_shot(model, train, evaluate, seed=3)
    assert model.drawn == [draw_terms(3, step)[0] for step in range(1, 65)]
    assert [result.terms for result in results] == list(ALL_TERM_SETS)
    losses = {str(result.terms): result.metrics["loss"] for result in results}
    assert len(set(losses.values())) > 10
    assert max(losses.values()) < 0.6  # ln 2 before the training
    assert str(model.attention.terms) == "1111"
