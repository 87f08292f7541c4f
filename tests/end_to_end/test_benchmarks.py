import pytest
from benchmarks import translator


@pytest.mark.slow
def test_the_translator_benchmark_measures_both_and_gives_their_ratios():
    found = translator.measure(tokens=32, rounds=1)
    speeds = found["tokens per second"]
    ratios = found["speed of quatrain 1111, float32, as a ratio to"]
    assert len(speeds) == 3
    ours = speeds["quatrain 1111, float32"]
    assert ratios == pytest.approx({name: ours / speeds[name] for name in ratios})


def test_the_plain_transformer_has_the_size_of_ours():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    plain, ours = translator.PlainTransformer(), translator.ours("1111")
    assert count(plain) == pytest.approx(count(ours), rel=0.15)
