"""What the tests of all probes share: a drawing of many sequences, and one thread."""

import numpy as np
import pytest


@pytest.fixture
def drawn():
    """A function from a probe to its sequences and answers, as lists of plain numbers."""

    def draw(probe, number=200, seed=0):
        part = probe.draw(np.random.default_rng(seed), number)
        return part.tokens.tolist(), part.answers.tolist()

    return draw


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """Every test here."""
