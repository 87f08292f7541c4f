"""Fixtures of all tests of probes."""

import numpy as np
import pytest


@pytest.fixture
def draw_lists():
    """A function from a probe to its sequences and answers, as lists."""

    def draw(probe, number=200, seed=0):
        samples = probe.draw(np.random.default_rng(seed), number)
        return samples.tokens.tolist(), samples.answers.tolist()

    return draw


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """Every test here."""
