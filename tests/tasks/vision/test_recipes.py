from quatrain.tasks.vision.recipes import small_recipe


def test_the_warmup_is_a_tenth_up_to_the_limit():
    short, long = (small_recipe(steps, longest_warmup=100, monitor_every=7) for steps in (50, 6000))
    assert (short.warmup_steps, long.warmup_steps, long.monitor_every) == (5, 100, 7)
    assert long.rate(100) == 1e-3
    assert long.rate(6000) < 1e-6
