"""A moving average of the weights: evaluated in their place, smoother than the last ones.

average <- d average + (1 - d) weights,    d = min(decay, (1 + step) / (10 + step))
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class ExponentialMovingAverage:
    """The exponential moving average of a module's weights; a decay of 0 keeps none.

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 8.
    Differs: the decay rises to its value, so that the random first weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.tensors = _copy(module) if decay else {}

    def update(self, step: int) -> None:
        """Take in the weights after `step`; whole numbers are copied, not averaged."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self.module.state_dict()
        for name, average in self.tensors.items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])

    def install(self) -> None:
        """Put the average into the module."""
        if self.tensors:
            self.module.load_state_dict(self.tensors)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The average inside the block, the weights as they were after it."""
        current = _copy(self.module) if self.tensors else {}
        self.install()
        try:
            yield
        finally:
            if current:
                self.module.load_state_dict(current)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
