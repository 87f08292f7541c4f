from quatrain.cost import training_hours


def test_an_hour_is_sixty_peta_multiply_adds_of_forward_passes():
    assert training_hours(60e15) == 1.0
    assert training_hours(30e15) == 0.5
