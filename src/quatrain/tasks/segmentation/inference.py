"""Inference on images of any size: the whole image at once, or overlapping tiles.

Shapes: n images of i channels and size h w, c classes.
"""

from typing import Annotated, Literal

from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from quatrain.models.tiling import Network, tiled_inference
from quatrain.specs import Spec


class WholeImageSpec(Spec):
    """The whole image at once."""

    kind: Literal["whole image"] = "whole image"

    def logits(
        self, network: Network, images: UInt8[Tensor, "n i h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The network's output."""
        return network(images)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of the network's input for an image of `size`."""
        return size


class TilesSpec(Spec):
    """Overlapping tiles of the size of the training crops, with averaged outputs.

    Source: Huang et al. 2019, https://arxiv.org/abs/1811.11721, whose released evaluation slides
        tiles of 769 pixels that overlap by a third.
    """

    kind: Literal["tiles"] = "tiles"
    tile: int = Field(default=769, ge=1)
    """Height and width of a tile in pixels, at most those of the image."""
    overlap: float = Field(default=1 / 3, ge=0, lt=1)
    """The smallest overlap of neighbouring tiles, as a fraction of a tile."""

    def logits(
        self, network: Network, images: UInt8[Tensor, "n i h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The mean over all tiles that contain a pixel."""
        return tiled_inference(network, images, (self.tile, self.tile), self.overlap)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of the network's input for an image of `size`."""
        height, width = size
        return min(height, self.tile), min(width, self.tile)


Testing = Annotated[WholeImageSpec | TilesSpec, Field(discriminator="kind")]
