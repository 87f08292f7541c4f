import pytest
import torch
from torch import nn

from quatrain.nn import AttentionSpec
from quatrain.specs import ALL_TERM_SETS, InputError, Term
from quatrain.switching.knockout import evaluate_term_sets, knockout

FULL = Term.parse("1111")


def model(first="1111", second="0110"):
    torch.manual_seed(0)
    parts = [AttentionSpec(terms=terms, heads=2).build(8, ndim=1) for terms in (first, second)]
    return nn.Sequential(*parts)


def recorder(calls):
    def evaluate(network):
        assert not network.training
        assert not torch.is_grad_enabled()
        calls.append(tuple(str(part.terms) for part in network))
        return {"score": float(len(calls)), "loss": torch.tensor(0.5)}

    return evaluate


def test_all_modules_first_then_each_module_alone():
    calls = []
    results = knockout(model(), recorder(calls))
    everywhere = [(str(terms), str(terms & Term.parse("0110"))) for terms in ALL_TERM_SETS]
    first = [(terms, "0110") for terms in ("0111", "1011", "1101", "1110", "0000")]
    second = [("1111", terms) for terms in ("0010", "0100", "0000")]
    assert calls == [*everywhere, *first, *second]
    assert [result.at for result in results] == [None] * 16 + ["0"] * 5 + ["1"] * 3
    assert [str(result.terms) for result in results[16:]] == [
        *(terms for terms, _ in first),
        *(terms for _, terms in second),
    ]
    assert results[3].metrics == {"score": 4.0, "loss": 0.5}


def test_sets_of_terms_that_no_module_has_are_left_out():
    calls = []
    results = evaluate_term_sets(model("0100", "0110"), recorder(calls))
    assert [str(result.terms) for result in results] == ["0000", "0010", "0100", "0110"]


def test_a_glob_and_results_of_all_modules_alone():
    calls = []
    results = knockout(model(), recorder(calls), at="1", by_module=False)
    assert [str(result.terms) for result in results] == ["0000", "0010", "0100", "0110"]
    assert {first for first, _ in calls} == {"1111"}


def test_a_module_with_one_term_is_knocked_out_once():
    results = knockout(model("1000", "0000"), lambda _: {"score": 1.0})
    assert [(result.at, str(result.terms)) for result in results] == [
        (None, "0000"),
        (None, "1000"),
        ("0", "0000"),
    ]


def test_the_model_is_unchanged_also_after_an_error():
    network = model().train()

    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        knockout(network, fail)
    assert network.training
    assert [str(part.terms) for part in network] == ["1111", "0110"]


@pytest.mark.parametrize("metrics", [None, {}, 0.5, [1.0]])
def test_an_evaluation_without_metrics_is_refused(metrics):
    with pytest.raises(InputError, match="not metrics by name") as raised:
        knockout(model(), lambda _: metrics)
    assert raised.value.field == "evaluate"
