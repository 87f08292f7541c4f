import time

import pytest

from quatrain.cost import Latency, latency
from quatrain.specs import SpecError


def test_the_call_runs_once_a_round_and_in_the_warm_up():
    calls = []
    measured = latency(lambda: calls.append(1), warmup=2, rounds=5)
    assert len(calls) == 2 + 5
    assert measured.rounds == 5


def test_median_and_spread_are_quartiles_and_one_slow_round_moves_neither(monkeypatch):
    ticks = iter([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, 1000.0])
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(ticks))
        measured = latency(lambda: None, warmup=0, rounds=5)
    assert measured == Latency(3.0, 2.0, 5)


def test_one_round_has_no_spread_and_is_refused():
    with pytest.raises(SpecError, match="rounds is 1, expected at least 2"):
        latency(lambda: None, rounds=1)


def test_a_negative_warm_up_is_refused():
    with pytest.raises(SpecError, match="warmup is -1"):
        latency(lambda: None, warmup=-1)
