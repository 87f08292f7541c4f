from quatrain.cost import training_hours


def test_hours_are_proportional_to_multiply_adds():
    assert training_hours(60e15) == 1.0
    assert training_hours(30e15) == 0.5
