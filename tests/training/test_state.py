import math

from quatrain.training.state import TrainingState


def test_the_means_are_over_what_came_since_the_last_line():
    position = TrainingState().advanced(total=8.0, weight=4.0, batches=2, seconds=0.5)
    position = position.advanced(total=1.0, weight=2.0, batches=2, seconds=1.5)
    assert (position.step, position.batches, position.seconds) == (2, 4, 1.5)
    assert (position.mean_loss, position.rate) == (1.5, 4.0)
    position = position.reported().advanced(total=3.0, weight=1.0, batches=2, seconds=2.0)
    assert (position.step, position.mean_loss, position.rate) == (3, 3.0, 2.0)


def test_time_spent_aside_is_time_but_no_part_of_the_speed():
    position = TrainingState().advanced(total=8.0, weight=4.0, batches=1, seconds=1.0).reported()
    position = position.aside(5.0).advanced(total=8.0, weight=4.0, batches=1, seconds=8.0)
    assert (position.seconds, position.rate) == (8.0, 2.0)


def test_waiting_is_a_share_of_the_time_since_the_last_line():
    position = TrainingState().advanced(total=1.0, weight=1.0, batches=1, seconds=2.0, waited=0.5)
    position = position.advanced(total=1.0, weight=1.0, batches=1, seconds=4.0, waited=0.5)
    assert position.waiting == 0.25
    position = position.reported().advanced(
        total=1.0, weight=1.0, batches=1, seconds=5.0, waited=1.0
    )
    assert position.waiting == 1.0
    assert TrainingState().waiting == 0.0


def test_nothing_gathered_has_no_mean():
    assert math.isnan(TrainingState().mean_loss)
    assert TrainingState().rate == 0.0
