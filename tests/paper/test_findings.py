from typing import get_args

import pytest

from quatrain.nn.mixers import parse_mixer
from quatrain.paper.findings import FINDINGS, Place, Statement

STATEMENTS = [statement for finding in FINDINGS for statement in finding.statements]


def test_there_are_seven_findings_and_each_place_has_some():
    assert [finding.number for finding in FINDINGS] == list(range(1, 8))
    assert {statement.place for statement in STATEMENTS} == set(get_args(Place))


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: f"{s.place}: {s.contrast}")
def test_a_statement_is_a_contrast_of_mixers(statement):
    assert sum(statement.weights.values()) == 0
    for mixer in statement.weights:
        parse_mixer(mixer)


def test_weights_count_a_mixer_as_often_as_it_is_named():
    statement = Statement("detection", "x", "1111 - 0011 - 0011 + w/o", "lower")
    assert statement.weights == {"1111": 1, "0011": -2, "w/o": 1}


def test_published_numbers_agree_with_the_predicted_verdicts():
    """The paper's text calls differences of up to 1 on par, and the largest is 0.8 mIoU."""
    for statement in STATEMENTS:
        value = statement.published
        if value is None:
            continue
        if statement.expected == "equivalent":
            assert abs(value) <= 0.8
        else:
            assert (value > 0) == (statement.expected == "higher")


def test_encoder_decoder_attention_has_numbers_of_its_own():
    published = {s.contrast: s.published for s in FINDINGS[1].statements}
    assert published == {"1111 - 0111": 0.75, "1111 - 1000": 0.0}


def test_mmdetection_has_values_of_two_contrasts_of_detection():
    values = {(s.place, s.contrast): s.mmdetection for s in STATEMENTS}
    assert {key: value for key, value in values.items() if value is not None} == {
        ("detection", "0010 - w/o"): 1.7,
        ("detection", "1111+deformable - 0010+deformable"): 0.1,
    }
