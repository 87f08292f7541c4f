import numpy as np
import pytest
import torch

from quatrain.specs import SpecError
from quatrain.tasks.probes import (
    IGNORE_INDEX,
    AbsenceSpec,
    AddressSpec,
    LongerSpec,
    OffsetSpec,
    ShiftedSpec,
)

PROBES = (LongerSpec(), AbsenceSpec(), ShiftedSpec(), AddressSpec())
EVERY_PROBE = pytest.mark.parametrize("probe", PROBES, ids=lambda p: p.kind)


@EVERY_PROBE
def test_samples_are_a_function_of_the_random_numbers(probe):
    for draw in (probe.draw, probe.draw_test):
        first, same, other = (draw(np.random.default_rng(seed), 5) for seed in (1, 1, 2))
        assert torch.equal(first.tokens, same.tokens)
        assert torch.equal(first.answers, same.answers)
        assert not torch.equal(first.tokens, other.tokens)


@EVERY_PROBE
def test_each_feature_and_answer_is_within_its_range_and_takes_its_last_number(probe):
    samples = [draw(np.random.default_rng(0), 500) for draw in (probe.draw, probe.draw_test)]
    tokens = torch.cat([x.tokens.flatten(0, 1) for x in samples])
    assert (tokens.amax(0) + 1).tolist() == list(probe.features)
    assert tokens.min() == 0
    answers = torch.cat([x.answers.flatten() for x in samples])
    assert (answers.min() >= IGNORE_INDEX, answers.max()) == (True, probe.values - 1)


def test_longer_answers_are_the_values_of_the_named_tokens_at_both_lengths():
    probe = LongerSpec(length=6, test_length=12)
    for draw, length in ((probe.draw, 6), (probe.draw_test, 12)):
        samples = draw(np.random.default_rng(0), 50)
        for tokens, answers in zip(*(x.tolist() for x in samples), strict=True):
            by_name = {name: value for value, name, _ in tokens}
            assert len(by_name) == length
            assert [by_name[query] for _, _, query in tokens] == answers


def test_absence_answers_are_the_common_value_where_the_name_is_present(draw_lists):
    absent = total = 0
    for tokens, answers in zip(*draw_lists(AbsenceSpec(), 500), strict=True):
        names = {name for _, name, _ in tokens}
        assert len(names) == len(tokens)
        assert len({value for value, _, _ in tokens}) == 1
        for (value, _, query), answer in zip(tokens, answers, strict=True):
            assert answer == (value if query in names else 0)
            absent, total = absent + (answer == 0), total + 1
    assert absent / total == pytest.approx(0.5, abs=0.05)


def test_shifted_answers_are_those_of_offset_and_numbers_are_disjoint():
    probe = ShiftedSpec()
    draws = [draw(np.random.default_rng(0), 500) for draw in (probe.draw, probe.draw_test)]
    expected = OffsetSpec().draw(np.random.default_rng(0), 500)
    for tokens, answers in draws:
        assert torch.equal(tokens[..., 0], expected.tokens[..., 0])
        assert torch.equal(answers, expected.answers)
        assert (tokens[..., 1].diff() == 1).all()
    numbers = [set(tokens[..., 1].unique().tolist()) for tokens, _ in draws]
    assert numbers == [set(range(64)), set(range(64, 128))]


def test_address_answers_are_the_values_of_the_tokens_that_name_them(draw_lists):
    for tokens, answers in zip(*draw_lists(AddressSpec()), strict=True):
        named = {position + at - 3: value for position, (value, at) in enumerate(tokens)}
        assert [named[position] for position in range(len(tokens))] == answers


@pytest.mark.parametrize(
    ("probe", "fields"),
    [
        (LongerSpec, {"test_length": 15}),
        (AbsenceSpec, {"names": 4}),
        (ShiftedSpec, {"distance": 8, "length": 8}),
        (ShiftedSpec, {"numbers": 62}),
        (AddressSpec, {"length": 6}),
    ],
)
def test_questions_without_answers_are_refused(probe, fields):
    with pytest.raises(SpecError) as raised:
        probe(**fields)
    assert raised.value.field == f"{probe.__name__}.{next(iter(fields))}"
