import time

import pytest

from quatrain.cost import Latency, latency
from quatrain.specs import SpecError


def test_call_runs_once_per_round_and_warmup():
    calls = []
    measured = latency(lambda: calls.append(1), warmup=2, rounds=5)
    assert len(calls) == 2 + 5
    assert measured.rounds == 5


def test_median_and_spread_are_robust_to_one_slow_round(monkeypatch):
    ticks = iter([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, 1000.0])
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(ticks))
        measured = latency(lambda: None, warmup=0, rounds=5)
    assert measured == Latency(3.0, 2.0, 5)


@pytest.mark.parametrize("field", ["rounds", "warmup"])
def test_too_few_rounds_raise(field):
    with pytest.raises(SpecError) as caught:
        latency(lambda: None, **{field: 1 if field == "rounds" else -1})
    assert caught.value.field == field
