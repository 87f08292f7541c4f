"""Initialization: each part of a network draws its weights from a seed of its own name.

From one random stream, an additional parameter changes the weights of every layer after it, so
two networks with different terms would share nothing under one seed and could not be compared in
pairs. With per-name seeds, the parts that two networks have in common start equal.
"""

import hashlib

import torch
from torch import nn


class Projection(nn.Linear):
    """A linear layer with initial weights of variance 1 / inputs and zero bias.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.6,
        http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf.
    Differs: the distribution is uniform, as in the released code of generalized attention.
    """

    def reset_parameters(self) -> None:
        """Draw the weights and set the bias to zero."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def initialize_by_name(module: nn.Module, seed: int, prefix: str = "") -> None:
    """Call `reset_parameters` of every part that has it, seeded by `seed` and the part's name.

    Children come before their parent, which may overwrite them. `prefix` is put before the names,
    for a module that is part of another. Torch's random state is restored.

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
