import json

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.cost import planned_cost
from quatrain.specs import SpecError, Term


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_json_has_method_price_and_reason():
    result = run("--terms", "0011", "--queries", "50x84", "--keys", "25x42", "--train", "--json")
    found = json.loads(result.stdout)
    expected = planned_cost(Term.parse("0011"), (50, 84), (25, 42), training=True)
    assert found == vars(expected)


def test_people_get_a_sentence():
    result = run("--terms", "1000", "--queries", "4096", "--causal")
    assert result.stdout.startswith("fused (by sdpa): ")
    assert "G multiply-adds" in result.stdout
    assert "MiB of weights held at once" in result.stdout
    assert "sums by row" in run("--terms", "0110", "--queries", "64x64").stdout


def test_a_window_an_order_and_masks_change_the_plan():
    asked = ("--terms", "0010", "--queries", "512", "--json")
    methods = [
        json.loads(run(*asked, *more).stdout)["method"]
        for more in ((), ("--causal", "--key-padding-mask"), ("--window", "7"), ("--attend-mask",))
    ]
    assert methods == ["pooled", "pooled", "fused", "fused"]


@pytest.mark.parametrize("sizes", ["50x", "0", "5x5x5", "x", "-3", "5.0"])
def test_sizes_that_are_none_are_told(sizes):
    result = run("--terms", "1111", "--queries", sizes)
    assert isinstance(result.exception, SpecError)
    assert "queries" in str(result.exception)


def test_a_device_that_is_none_is_refused():
    result = run("--terms", "1111", "--queries", "8", "--device", "gpu")
    assert result.exit_code == 2
    assert "cuda" in result.output
