import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import SpecError
from quatrain.training import InverseSqrt, Polynomial, Recipe, Steps


@given(step=st.integers(1, 100_000))
def test_the_default_schedule_is_that_of_the_paper(step):
    warm = 1e-7 + (1e-3 - 1e-7) * step / 4000
    expected = warm if step <= 4000 else 1e-3 * (4000 / step) ** 0.5
    assert Recipe().rate(step) == pytest.approx(expected, rel=1e-12)


def test_the_peak_is_reached_at_the_end_of_the_warm_up():
    recipe = Recipe()
    assert recipe.rate(4000) == 1e-3
    assert recipe.rate(16_000) == pytest.approx(0.5e-3)


def test_without_a_warm_up_the_first_step_is_at_the_peak():
    for schedule in (InverseSqrt(), Steps(), Polynomial()):
        recipe = Recipe(steps=10, warmup_steps=0, learning_rate=0.1, schedule=schedule)
        assert recipe.rate(1) == 0.1


def test_the_rate_falls_after_each_milestone():
    recipe = Recipe(steps=1200, warmup_steps=100, learning_rate=1.0, schedule=Steps())
    assert [recipe.rate(step) for step in (100, 800, 801, 1100)] == [1.0, 1.0, 0.1, 0.1]
    assert recipe.rate(1101) == pytest.approx(0.01)


@given(power=st.floats(0.1, 3), warmup=st.integers(0, 50), steps=st.integers(51, 500))
def test_polynomial_decay_starts_at_the_peak_and_stays_positive(power, warmup, steps):
    schedule = Polynomial(power=power)
    recipe = Recipe(steps=steps, warmup_steps=warmup, learning_rate=1.0, schedule=schedule)
    rates = [recipe.rate(step) for step in range(warmup + 1, steps + 1)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx((1 / (steps - warmup)) ** power)


def test_a_warm_up_as_long_as_the_training_is_refused():
    with pytest.raises(SpecError) as raised:
        Recipe(steps=4000)
    assert raised.value.field == "Recipe.warmup_steps"
    assert Recipe(steps=4001).rate(4001) < 1e-3


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0},
        {"accumulate": 0},
        {"average": 1.0},
        {"learning_rate": 0.0},
        {"clip_norm": 0.0},
        {"momentum": -0.1},
        {"betas": (0.9, 1.0)},
        {"epsilon": 0.0},
        {"precision": "float64"},
        {"optimizer": "lion"},
        {"learning_rat": 1.0},
    ],
    ids=str,
)
def test_an_invalid_value_is_refused_with_its_field(fields):
    with pytest.raises(SpecError) as raised:
        Recipe(**({"warmup_steps": 0} | fields))
    assert raised.value.field.startswith(f"Recipe.{next(iter(fields))}")


def test_a_recipe_is_restored_from_json():
    recipe = Recipe(steps=5000, schedule=Polynomial(power=2.0), average=0.9, clip_norm=1.0)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_milestone_is_a_fraction_of_the_training():
    with pytest.raises(SpecError) as raised:
        Steps(milestones=(8.0, 11.0))
    assert raised.value.field == "Steps.milestones.0"
