"""How a trained segmenter is shown a whole image: at once, or tile by tile.

Shapes: n images, i channels of an image, h w their size, c classes.
"""

from typing import Annotated, Literal

from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from quatrain.models.tiling import Network, tiled_inference
from quatrain.specs import Spec


class WholeImageSpec(Spec):
    """All of an image at once, whatever its size."""

    kind: Literal["whole image"] = "whole image"

    def logits(
        self, network: Network, images: UInt8[Tensor, "n i h w"]
    ) -> Float[Tensor, "n c h w"]:
        """What the network gives for the images."""
        return network(images)

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """The height and width that the network sees at once of an image of `size`."""
        return size


class TilesSpec(Spec):
    """Overlapping tiles of the size of the training crops, their outputs averaged.

    Source: Huang et al. 2019, https://arxiv.org/abs/1811.11721, whose released evaluation slides
        tiles of 769 pixels that overlap by a third.
    """

    kind: Literal["tiles"] = "tiles"
    tile: int = Field(default=769, ge=1)
    """Height and width in pixels; along a shorter axis, all of it."""
    overlap: float = Field(default=1 / 3, ge=0, lt=1)
    """What neighbours share at least, as a part of a tile."""

    def logits(
        self, network: Network, images: UInt8[Tensor, "n i h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The mean over all tiles that hold a pixel."""
        return tiled_inference(network, images, (self.tile, self.tile), self.overlap)

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """The height and width that the network sees at once of an image of `size`."""
        height, width = size
        return min(height, self.tile), min(width, self.tile)


Testing = Annotated[WholeImageSpec | TilesSpec, Field(discriminator="kind")]
