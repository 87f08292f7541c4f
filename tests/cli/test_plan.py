import json

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.cost import planned_cost
from quatrain.specs import SpecError, Term

LONG = pytest.param("9" * 5000, id="of many digits")


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_json_has_the_fields_of_the_planned_cost():
    result = run("--terms", "0011", "--queries", "50x84", "--keys", "25x42", "--train", "--json")
    content = json.loads(result.stdout)
    expected = planned_cost(Term.parse("0011"), (50, 84), (25, 42), training=True)
    assert content == vars(expected)


def test_the_default_output_is_a_sentence():
    result = run("--terms", "1000", "--queries", "4096", "--causal")
    assert result.stdout.startswith("fused (by sdpa): ")
    assert "G multiply-adds" in result.stdout
    assert "MiB of attention weights" in result.stdout
    assert "sums over rows" in run("--terms", "0110", "--queries", "64x64").stdout


def test_a_window_causality_and_masks_change_the_plan():
    options = ("--terms", "0010", "--queries", "512", "--json")
    methods = [
        json.loads(run(*options, *more).stdout)["method"]
        for more in ((), ("--causal", "--key-padding-mask"), ("--window", "7"), ("--attend-mask",))
    ]
    assert methods == ["pooled", "pooled", "fused", "fused"]


def test_extensions_and_a_window_follow_the_terms():
    plain, extended, windowed = (
        json.loads(run("--terms", terms, "--queries", "64x64", "--json").stdout)
        for terms in ("0011", "0011 swin", "1111@7")
    )
    assert (plain["method"], extended["method"]) == ("separable", "fused")
    option = run("--terms", "1111", "--queries", "64x64", "--window", "7", "--json")
    assert windowed == json.loads(option.stdout)
    whole = json.loads(run("--terms", "1111", "--queries", "64x64", "--json").stdout)
    assert windowed["multiply_adds"] < whole["multiply_adds"]


@pytest.mark.parametrize(
    ("terms", "options", "field"),
    [
        ("deformable", (), "terms"),
        ("w/o", (), "terms"),
        ("0011@7", ("--window", "9"), "window"),
        ("0011 rope", (), "rotary"),
    ],
)
def test_what_is_no_attention_is_an_error(terms, options, field):
    result = run("--terms", terms, "--queries", "64", *options)
    assert isinstance(result.exception, SpecError)
    assert result.exception.field == field


@pytest.mark.parametrize("sizes", ["50x", "0", "5x5x5", "x", "-3", "5.0", "8٣", "５", LONG])
def test_invalid_sizes_are_an_error(sizes):
    result = run("--terms", "1111", "--queries", sizes)
    assert isinstance(result.exception, SpecError)
    assert result.exception.field == "queries"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--queries", "99999999"), "queries"),
        (("--queries", "8", "--keys", "99999999999999999"), "keys"),
        (("--queries", "8", "--channels", "1000000007", "--heads", "7"), "channels"),
        pytest.param(("--queries", "8", "--channels", "9" * 3000), "channels", id="many digits"),
        (("--queries", "8", "--batch", "99999999999"), "batch"),
        (("--queries", "8", "--window", "99999999999"), "window"),
    ],
)
def test_huge_numbers_are_an_error_at_once(options, field):
    result = run("--terms", "1111", *options)
    assert isinstance(result.exception, SpecError)
    assert result.exception.field.endswith(field)
    assert len(str(result.exception)) < 200


def test_an_unknown_device_is_a_usage_error():
    result = run("--terms", "1111", "--queries", "8", "--device", "gpu")
    assert result.exit_code == 2
    assert "cuda" in result.output
