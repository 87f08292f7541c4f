"""The training recipe of the small vision networks, which start without pretrained weights."""

from quatrain.training import Polynomial, Recipe


def small_recipe(steps: int, *, longest_warmup: int, monitor_every: int) -> Recipe:
    """Adam with decay to zero; a tenth of the steps warms up, `longest_warmup` at most."""
    return Recipe(
        steps=steps,
        learning_rate=1e-3,
        betas=(0.9, 0.99),
        epsilon=1e-8,
        weight_decay=0.01,
        warmup_steps=min(longest_warmup, steps // 10),
        schedule=Polynomial(power=0.9),
        clip_norm=1.0,
        report_every=20,
        monitor_every=monitor_every,
        checkpoint_every=100,
    )
