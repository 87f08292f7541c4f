"""First weights that depend on a parameter's name, not on which other parameters there are.

Drawn one after the other from one random stream, the weights of a network change from the first
layer that one more parameter precedes. Two networks that differ in their terms would then
share a seed but no luck, and their difference could not be paired by seed. Here each part draws
from a stream of its own name: what two networks have in common begins equal.
"""

import hashlib

import torch
from torch import nn


class Projection(nn.Linear):
    """A linear layer whose first weights have variance 1 / inputs, and whose bias is zero.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.6,
        http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf.
    Differs: the distribution is uniform, as in the released code of generalized attention.
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def initialize_by_name(module: nn.Module, seed: int, prefix: str = "") -> None:
    """Call `reset_parameters` of every part that has it, with random numbers of its own.

    Parts come before the whole that holds them, which may overrule them. `prefix` goes before the
    names, for a module that is part of another. Torch's random state is left as it was.

    Source: our own; common random numbers, as in Glasserman and Yao 1992,
        https://doi.org/10.1287/mnsc.38.6.884.
    """
    with torch.random.fork_rng(devices=[]):
        for name, part in reversed(list(module.named_modules())):
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                digest = hashlib.sha256(f"{seed}/{prefix}{name}".encode()).digest()
                torch.manual_seed(int.from_bytes(digest[:7]))
                reset()
