"""The network of a probe: an embedding, one mixer and a linear readout.

    network = ProbeNetwork(features=(32, 2), values=32, channels=64, mixer=parse_mixer("0010", 1))
    network(tokens)                         # a score for each value at each token

It has no residual connection, norm or hidden layer, so that only the mixer can combine tokens.

Shapes: b sequences, t tokens, f features, c channels, v values.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from quatrain.nn import Mixer
from quatrain.nn.layers import Projection
from quatrain.nn.parameters import initialize_by_name


class ProbeNetwork(nn.Module):
    """A mixer between the sum of embedded features and a linear score for each value.

    `constant` is a component of all tokens, by which E1 includes E3, and E2 includes E4. Without a
    mixer (None) the scores of a token depend on that token alone.
    """

    def __init__(
        self, features: Sequence[int], values: int, channels: int, mixer: Mixer | None
    ) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.embedding: nn.Embedding = nn.Embedding(sum(features), channels)
        self.constant: nn.Parameter = nn.Parameter(torch.empty(channels))
        offsets = [0, *itertools.accumulate(features[:-1])]
        self.offsets: Tensor
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)
        self.mixer: Any = None if mixer is None else mixer.build(channels, ndim=1)
        self.readout: Projection = Projection(channels, values)
        initialize_by_name(self, seed)

    def reset_parameters(self) -> None:
        """Initialize the constant like an embedded feature; submodules initialize themselves."""
        nn.init.normal_(self.constant)

    def forward(self, tokens: Int64[Tensor, "b t f"]) -> Float[Tensor, "b t v"]:
        """The score of each value at each token."""
        x = self.embedding(tokens + self.offsets).sum(-2) + self.constant
        return self.readout(x if self.mixer is None else self.mixer(x))
