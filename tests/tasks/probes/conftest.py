"""What the tests of all probes share: a drawing of many sequences, and one thread."""

import numpy as np
import pytest
import torch


@pytest.fixture
def drawn():
    """A function from a probe to its sequences and answers, as lists of plain numbers."""

    def draw(probe, number=200, seed=0):
        part = probe.draw(np.random.default_rng(seed), number)
        return part.tokens.tolist(), part.answers.tolist()

    return draw


@pytest.fixture(autouse=True)
def one_thread():
    """Small products lose more to threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
