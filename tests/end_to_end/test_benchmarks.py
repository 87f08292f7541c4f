import pytest
import torch
from benchmarks import mixers, performance, translator
from benchmarks.outcome import Outcome
from benchmarks.plain_transformer import PlainTransformer


@pytest.mark.slow
def test_the_translator_benchmark_measures_both_and_gives_their_ratios():
    found = translator.measure(tokens=32, rounds=1)
    speeds = {(row["part"], row["network"]): row["tokens/s"] for row in found.rows}
    assert len(speeds) == 5
    for row in found.rows:
        ours = speeds[row["part"], "quatrain 1111, float32"]
        assert row["speed of ours / its own"] == pytest.approx(ours / row["tokens/s"])


def test_the_plain_transformer_decodes_with_caches_what_it_computes_without():
    plain = PlainTransformer().eval()
    source = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    target = torch.tensor([[1, 20, 30], [1, 40, 50]])
    with torch.no_grad():
        state, steps = plain.start(source), []
        for tokens in target.T:
            logits, state = plain.step(tokens, state)
            steps.append(logits)
        torch.testing.assert_close(torch.stack(steps, 1), plain.logits(source, target))


def test_the_plain_transformer_has_the_size_of_ours():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    plain, ours = PlainTransformer(), translator.ours("1111")
    assert count(plain) == pytest.approx(count(ours), rel=0.15)


@pytest.mark.slow
def test_the_mixers_benchmark_holds_each_way_against_the_other_library(monkeypatch):
    small = {
        name: {**case, "batch": 1, "channels": 32, "sizes": [6] * len(case["sizes"]), "window": 3}
        for name, case in mixers.CASES.items()
    }
    monkeypatch.setattr(mixers, "CASES", dict(list(small.items())[1:3]))
    monkeypatch.setattr(mixers, "peak_memory", lambda *_, **__: 2)  # it has tests of its own
    found = mixers.measure(rounds=1, device="cpu")
    assert [(row["method"], row["against"]) for row in found.rows] == [
        ("gather", "torchvision"),
        ("ours", "unfold"),
    ]
    assert all(row["time ratio"] > 0 and row["memory ratio"] == 1 for row in found.rows)


def test_an_outcome_is_read_back_and_set_as_a_table():
    outcome = Outcome.here("mixers", rounds=3, rows=[{"case": "a", "ratio": 0.0912, "ms": 1234.5}])
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert (
        outcome.markdown() == "| case | ratio | ms |\n| --- | ---: | ---: |\n| a | 0.0912 | 1,234 |"
    )
    assert outcome.text().endswith("3 rounds\ncase  ratio   ms\na     0.0912  1,234")


def test_the_page_on_performance_is_what_the_outcomes_say():
    assert performance.PAGE.read_text() == performance.page()


@pytest.mark.parametrize("sizes", [[7], [4, 5]])
def test_the_unfold_formulation_is_the_same_convolution(sizes):
    case = {"batch": 2, "channels": 32, "sizes": sizes, "window": 3, "device": "cpu"}
    outputs = []
    for way in ("ours", "unfold"):
        torch.manual_seed(0)
        forward, _ = mixers._dynamic(way, **case)
        outputs.append(forward())
    torch.testing.assert_close(*outputs)
