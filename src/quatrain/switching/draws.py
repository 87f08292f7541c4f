"""Term sets of training steps, for one training whose weights all term sets share.

    for step, batch in enumerate(batches, 1):
        for terms in draw_terms(seed, step):
            with switch(model, terms):
                loss(model, batch).backward()
        optimizer.step()

Each set of a step is a function of the seed and the step alone, so that a resumed training
continues with the same sets.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from torch import nn

from quatrain.specs import ALL_TERM_SETS, SpecError, Term
from quatrain.specs.errors import shorten
from quatrain.switching.switch import attentions_in

Sampling = Literal["sampled", "sandwich"]


def draw_terms(seed: int, step: int, sampling: Sampling = "sampled") -> tuple[Term, ...]:
    """The term sets of a training step, counted from 1.

    "sampled" is one set: each of the 16 occurs once in any 16 steps from a multiple of 16 on, in
    random order. "sandwich" is three: 0000, 1111 and the sampled one; average their gradients.

    Source: Chu et al. 2021, https://arxiv.org/abs/1907.01845 (strict fairness: each choice equally
        often); Yu and Huang 2019, https://arxiv.org/abs/1903.05134 (the sandwich rule).

    Raises:
        SpecError: if `sampling` is another word.
    """
    if sampling not in get_args(Sampling):
        names = " or ".join(f'"{name}"' for name in get_args(Sampling))
        raise SpecError(f"sampling={shorten(sampling)} is unknown; use {names}", "sampling")
    block, number = divmod(step - 1, len(ALL_TERM_SETS))
    stream = random.Random(f"terms/{seed}/{block}")  # noqa: S311 - equal draws are the aim
    order = stream.sample(ALL_TERM_SETS, len(ALL_TERM_SETS))
    if sampling == "sampled":
        return (order[number],)
    return (ALL_TERM_SETS[0], order[number], ALL_TERM_SETS[-1])


@contextmanager
def sampled_terms(
    model: nn.Module, seed: int, *, first_step: int = 1, at: str | None = None
) -> Iterator[None]:
    """Draw a term set for each forward pass of `model` in training mode within the block.

    For training loops that are not one's own, with one forward pass a step. Passes in evaluation
    mode compute with the terms of before the block, which are restored at its end.

    Args:
        model: the module that the loop calls.
        seed: that of `draw_terms`.
        first_step: the number of the first pass; of a resumed training, the steps done plus 1.
        at: a glob of module names, as in `switch`.

    Source: as `draw_terms`.

    Raises:
        InputError: if the model has no attention there.
    """
    attentions = attentions_in(model, at).values()
    before = [(module, module.terms) for module in attentions]
    step = first_step

    def switch_next(called: nn.Module, _: Any) -> None:
        nonlocal step
        if not called.training:
            restore()
            return
        (terms,) = draw_terms(seed, step)
        step += 1
        for module in attentions:
            module.terms = terms

    def restore() -> None:
        for module, terms in before:
            module.terms = terms

    handle = model.register_forward_pre_hook(switch_next)
    try:
        yield
    finally:
        handle.remove()
        restore()
