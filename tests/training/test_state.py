import math

from quatrain.training.state import TrainingState


def test_means_are_over_the_steps_since_the_last_report():
    state = TrainingState().after_step(total=8.0, weight=4.0, batches=2, seconds=0.5)
    state = state.after_step(total=1.0, weight=2.0, batches=2, seconds=1.5)
    assert (state.step, state.batches, state.seconds) == (2, 4, 1.5)
    assert (state.mean_loss, state.rate) == (1.5, 4.0)
    state = state.after_report().after_step(total=3.0, weight=1.0, batches=2, seconds=2.0)
    assert (state.step, state.mean_loss, state.rate) == (3, 3.0, 2.0)


def test_the_time_of_a_validation_does_not_count_for_the_rate():
    state = TrainingState().after_step(total=8.0, weight=4.0, batches=1, seconds=1.0)
    state = state.after_report().after_validation(5.0)
    state = state.after_step(total=8.0, weight=4.0, batches=1, seconds=8.0)
    assert (state.seconds, state.rate) == (8.0, 2.0)


def test_waiting_is_a_share_of_the_time_since_the_last_report():
    state = TrainingState().after_step(total=1.0, weight=1.0, batches=1, seconds=2.0, waited=0.5)
    state = state.after_step(total=1.0, weight=1.0, batches=1, seconds=4.0, waited=0.5)
    assert state.waiting == 0.25
    state = state.after_report()
    state = state.after_step(total=1.0, weight=1.0, batches=1, seconds=5.0, waited=1.0)
    assert state.waiting == 1.0


def test_without_steps_there_is_no_mean():
    assert math.isnan(TrainingState().mean_loss)
    assert (TrainingState().rate, TrainingState().waiting) == (0.0, 0.0)
