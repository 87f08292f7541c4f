import dataclasses

import pytest

from quatrain.cost.closed_form import layer_multiply_adds
from quatrain.paper import translation
from quatrain.paper.published import points
from quatrain.paper.translation import TOKENS, cost_rows

ODD = {("figure-3c", "0110"), ("figure-3c", "0111")}


@pytest.fixture(scope="module")
def rows():
    return cost_rows()


def test_every_configuration_of_terms_has_a_row(rows):
    published = {
        (point.table, point.config)
        for table in ("figure-3c", "figure-3d")
        for point in points(table)
    }
    compared = {(row.table, row.config) for row in rows}
    assert len(rows) == len(compared)
    assert published - compared == {("figure-3c", "0010+deformable")}


def test_computed_is_within_a_fiftieth_of_published_but_for_the_odd_entries(rows):
    far = {(row.table, row.config) for row in rows if abs(row.computed - row.published) > 0.02}
    assert far == ODD
    assert all(row.note for row in rows if (row.table, row.config) in ODD)


def test_the_network_without_self_attention_costs_what_the_convention_predicts(rows):
    base = next(row for row in rows if row.config == "w/o")
    assert base.computed == pytest.approx(1.744, abs=0.0005)


def test_what_is_executed_is_the_sum_of_the_closed_forms(rows):
    sizes = {"batch": 1, "source": TOKENS, "target": TOKENS}
    executed = {(row.table, row.config): row.executed for row in rows}
    known = [point for table in ("figure-3c", "figure-3d") for point in points(table)]
    for point in known:
        if "deformable" in point.config:
            continue
        translator = translation._translator(point)
        layers = (*translator.encoder, *translator.decoder)
        closed = sum(layer_multiply_adds(layer, **sizes) for layer in layers)
        assert executed[point.table, point.config] == closed / 1e9, point


def test_rows_are_plain_values(rows):
    assert {type(value) for row in rows for value in dataclasses.astuple(row)} == {str, float}
