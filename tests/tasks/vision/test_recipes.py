from quatrain.tasks.vision.recipes import from_scratch


def test_the_warm_up_is_a_tenth_and_no_longer_than_asked():
    short, long = (from_scratch(steps, longest_warmup=100, monitor_every=7) for steps in (50, 6000))
    assert (short.warmup_steps, long.warmup_steps, long.monitor_every) == (5, 100, 7)
    assert long.rate(100) == 1e-3
    assert long.rate(6000) < 1e-6
