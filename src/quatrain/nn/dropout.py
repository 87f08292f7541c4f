"""Dropout as a module."""

from jaxtyping import Float
from torch import Tensor, nn

from quatrain.nn.scripting import refuse_scripting
from quatrain.ops.dropout import dropout
from quatrain.specs import SpecError


class Dropout(nn.Module):
    """Zero elements with probability p while training, and scale the others by 1 / (1 - p).

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    __prepare_scriptable__ = refuse_scripting

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise SpecError("p", p, "at least 0 and below 1", "use 0 to drop nothing")
        self.p = p

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Zero each element with probability p while training; else return the input."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"
