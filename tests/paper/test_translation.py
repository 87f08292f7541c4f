import dataclasses

import pytest
import torch

from closed_forms import layer_multiply_adds, translator_by_convention
from quatrain.cost import count_multiply_adds
from quatrain.models.translator import TranslatorSpec
from quatrain.paper.published import configurations, pairs
from quatrain.paper.translation import TABLES, TOKENS, cost_row, cost_rows, translator_spec

POINTS = {(t, p.config): p for t in TABLES for p in configurations(t, "translation")}
SOME = [
    ("figure-3c", "w/o"),
    ("figure-3c", "1111"),
    ("figure-3d", "0011"),
    ("table-2", "0010+deformable"),
    ("table-3", "dynamic@31"),
]
ODD = {("figure-3c", "0110"), ("figure-3c", "0111"), ("figure-3c", "0010+deformable")}
TOLERANCE = {"figure-3c": 0.02, "figure-3d": 0.02, "table-2": 0.06, "table-3": 0.07}
"""Of the figures, which were measured, and of tables with one decimal place."""

pytestmark = pytest.mark.xdist_group("paper's translation")  # the tests share cached counts


def is_close(row):
    return abs(row.computed - row.published) <= TOLERANCE[row.table]


@pytest.mark.parametrize(("table", "config"), SOME)
def test_computed_cost_is_the_published_one_and_executed_cost_the_closed_form(table, config):
    point = POINTS[table, config]
    row, spec = cost_row(point), translator_spec(point)
    assert is_close(row)
    assert {type(value) for value in dataclasses.astuple(row)} == {str, float}
    with torch.device("meta"):
        translator = spec.model_copy(update={"layers": 1}).build(vocabulary=2)
    layers = (*translator.encoder, *translator.decoder) * spec.layers
    sizes = {"batch": 1, "source": TOKENS, "target": TOKENS}
    assert row.executed == sum(layer_multiply_adds(layer, **sizes) for layer in layers) / 1e9


def test_network_without_self_attention_costs_what_the_convention_predicts():
    assert cost_row(POINTS["figure-3c", "w/o"]).computed == pytest.approx(1.744, abs=0.0005)


def test_network_costs_one_layer_times_their_number():
    with torch.device("meta"):
        translator = TranslatorSpec().build(vocabulary=2)
        tokens = torch.zeros(1, TOKENS, dtype=torch.long)
    whole = count_multiply_adds(translator, tokens, tokens)
    of_vocabulary = TOKENS * translator.spec.width * 2
    assert (whole - of_vocabulary) / 1e9 == cost_row(POINTS["figure-3c", "1111"]).executed


@pytest.mark.parametrize(("table", "config"), SOME)
def test_computed_cost_is_the_closed_form_and_the_count_of_the_whole_network(table, config):
    point = POINTS[table, config]
    with torch.device("meta"):
        translator = translator_spec(point).build(vocabulary=2)
        tokens = torch.zeros(1, TOKENS, dtype=torch.long)
    expected = translator_by_convention(translator, source=TOKENS, target=TOKENS)
    of_vocabulary = TOKENS * translator.spec.width * 2
    counted = count_multiply_adds(translator, tokens, tokens)
    assert counted.by_convention - of_vocabulary == expected
    assert expected / 1e9 == cost_row(point).computed


@pytest.fixture(scope="module")
def rows():
    return cost_rows()


@pytest.mark.slow
def test_each_configuration_has_one_row(rows):
    assert [(row.table, row.config) for row in rows] == list(POINTS)


@pytest.mark.slow
def test_computed_costs_agree_with_the_published_ones_except_for_odd_entries(rows):
    assert {(row.table, row.config) for row in rows if not is_close(row)} <= ODD
    assert all(row.note for row in rows if (row.table, row.config) in ODD)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table-2", "table-3"])
def test_published_percentages_agree_with_our_counts(rows, table):
    computed = {row.config: row.computed for row in rows if row.table == table}
    for pair in pairs(table, "translation"):
        before, after = pair.giga_multiply_adds
        if pair.percent == pytest.approx(100 * (after / before - 1), abs=0.05):
            continue  # the paper computed this one from its rounded numbers
        percent = 100 * (computed[pair.right] / computed[pair.left] - 1)
        assert percent == pytest.approx(pair.percent, abs=1.2), pair
