import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import SpecError
from quatrain.specs.spec import canonical
from quatrain.switching import draw_terms, switch
from quatrain.training import InverseSqrt, Polynomial, Recipe, Steps, train


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
        {"processes": 0},
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


@pytest.mark.parametrize(("accumulate", "processes"), [(1, 2), (6, 4), (2, 4)])
def test_processes_that_do_not_divide_the_batches_of_a_step_are_refused(accumulate, processes):
    with pytest.raises(SpecError) as raised:
        Recipe(accumulate=accumulate, processes=processes)
    assert raised.value.field == "Recipe.processes"


def test_only_several_processes_are_in_the_identity():
    assert canonical(Recipe(processes=1)) == canonical(Recipe())
    assert canonical(Recipe(accumulate=4, processes=2))["processes"] == 2


def test_a_recipe_is_restored_from_json():
    recipe = Recipe(steps=5000, schedule=Polynomial(power=2.0), average=0.9, clip_norm=1.0)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_milestone_is_a_fraction_of_the_training():
    with pytest.raises(SpecError) as raised:
        Steps(milestones=(8.0, 11.0))
    assert raised.value.field == "Steps.milestones.0"


def test_sampled_terms_are_a_function_of_seed_and_step():
    assert Recipe().term_sets(0, 1) == (None,)
    assert Recipe(terms="sampled").term_sets(3, 5) == draw_terms(3, 5)
    assert Recipe(terms="sandwich").term_sets(3, 5) == draw_terms(3, 5, "sandwich")


def test_a_place_of_terms_that_are_not_drawn_is_refused():
    with pytest.raises(SpecError, match="has no effect") as raised:
        Recipe(terms_at="encoder")
    assert raised.value.field == "Recipe.terms_at"


def test_fixed_terms_are_not_in_the_identity():
    assert canonical(Recipe(terms="fixed", terms_at=None)) == canonical(Recipe())
    assert "terms" not in canonical(Recipe())
    assert canonical(Recipe(terms="sampled"))["terms"] == "sampled"


def run(tiny, folder, seed, **options):
    return train(tiny.Task(**options), folder, seed=seed)


def test_a_sampled_step_is_a_step_with_the_drawn_terms(tiny, tmp_path):
    """Weights that the first set does not need are not changed by the first step."""
    options = {"attention": True, "dropout": 0.0, "warmup_steps": 0, "optimizer": "sgd"}
    for seed in range(40):
        (terms,) = draw_terms(seed, 1)
        if str(terms) in {"0001", "0010"}:
            folder = tmp_path / str(seed)
            torch.manual_seed(seed)
            before = tiny.Task(**options).build().state_dict()
            after = tiny.weights_of(run(tiny, folder, seed, steps=1, terms="sampled", **options))
            same = {name for name, value in after.items() if torch.equal(value, before[name])}
            others = {"0001": "key", "0010": "position"}[str(terms)]
            parts = {name.split(".")[1] for name in same}
            assert parts == {"query", others, f"{others}_bias"}


def test_a_sandwich_step_has_the_mean_gradient_of_its_sets(tiny, tmp_path):
    options = {"attention": True, "dropout": 0.0, "size": 20}
    options |= {"warmup_steps": 0, "optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.0}
    after = tiny.weights_of(run(tiny, tmp_path, 7, steps=1, terms="sandwich", **options))
    torch.manual_seed(7)
    task = tiny.Task(**options)
    objective = task.build()
    batch = task.collate(task.batches(0)[0])
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    gradients = {name: torch.zeros_like(value) for name, value in before.items()}
    for terms in draw_terms(7, 1, "sandwich"):
        objective.zero_grad()
        with switch(objective, terms):
            loss = objective(**batch)
        (loss.total / loss.weight / 3).backward()
        for name, weight in objective.named_parameters():
            gradients[name] += 0 if weight.grad is None else weight.grad
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] - 0.5 * gradients[name])


def test_the_trained_objective_has_all_terms_on(tiny, tmp_path):
    result = run(tiny, tmp_path, 7, attention=True, terms="sampled", monitor_every=2)
    assert str(result.objective.attention.terms) == "1111"
