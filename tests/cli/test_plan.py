import json
import re

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.cost import planned_cost
from quatrain.specs import SpecError, Term

LONG = pytest.param("9" * 5000, id="of many digits")


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
    assert "MiB of attention weights" in result.stdout
    assert "sums over rows" in run("--terms", "0110", "--queries", "64x64").stdout


def test_a_window_an_order_and_masks_change_the_plan():
    asked = ("--terms", "0010", "--queries", "512", "--json")
    methods = [
        json.loads(run(*asked, *more).stdout)["method"]
        for more in ((), ("--causal", "--key-padding-mask"), ("--window", "7"), ("--attend-mask",))
    ]
    assert methods == ["pooled", "pooled", "fused", "fused"]


@pytest.mark.parametrize("sizes", ["50x", "0", "5x5x5", "x", "-3", "5.0", "8٣", "５", LONG])
def test_sizes_that_are_none_are_told(sizes):
    result = run("--terms", "1111", "--queries", sizes)
    assert isinstance(result.exception, SpecError)
    assert "queries" in str(result.exception)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--queries", "99999999"), 'queries is "99999999", expected at most'),
        (("--queries", "8", "--keys", "99999999999999999"), "keys is .*, expected at most"),
        (("--queries", "8", "--channels", "1000000007", "--heads", "7"), "channels is 1000000007"),
        pytest.param(
            ("--queries", "8", "--channels", "9" * 3000),
            'channels is "of 9966 bits"',
            id="of many digits",
        ),
        (("--queries", "8", "--batch", "99999999999"), "batch is 99999999999, expected"),
        (("--queries", "8", "--window", "99999999999"), "window is 99999999999, expected"),
    ],
)
def test_numbers_without_bounds_are_refused_at_once(asked, sentence):
    result = run("--terms", "1111", *asked)
    assert isinstance(result.exception, SpecError)
    assert re.search(sentence, str(result.exception))
    assert len(str(result.exception)) < 200


def test_a_device_that_is_none_is_refused():
    result = run("--terms", "1111", "--queries", "8", "--device", "gpu")
    assert result.exit_code == 2
    assert "cuda" in result.output
