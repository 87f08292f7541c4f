"""Maps of a frozen backbone for a batch of images that differ in size, each computed alone.

    body = FrozenMaps(FrozenBackboneSpec().build())
    maps = body(with_mask(images))   # {"conv2": (N, 24, H/4, W/4), ..., "conv5": (N, 320, ...)}

A batch is padded on the right and below, and its fourth channel is 1 inside each image. The image
without this padding is padded to the next multiple of the largest stride, and its maps to those of
the batch: neither the features in files nor their number depend on the other images of a batch.

Shapes: n images, h w the size of the batch, y x that of a padded image or map, k its channels.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from quatrain.models.frozen_backbone import MEAN, STRIDES, FrozenBackbone

_LARGEST_STRIDE = max(STRIDES.values())


class FrozenMaps(nn.Module):
    """All maps of a frozen backbone; those of an image are zero outside of it.

    Source of the mask: Carion et al. 2020, https://arxiv.org/abs/2005.12872, whose released code
        passes batches with a mask of their padding.
    """

    def __init__(self, backbone: FrozenBackbone) -> None:
        super().__init__()
        self.backbone: FrozenBackbone = backbone
        self.channels: dict[str, int] = backbone.channels

    def forward(self, images: UInt8[Tensor, "n 4 h w"]) -> dict[str, Tensor]:
        """The maps by name, for the size of the batch, rounded up to multiples of 32.

        Raises:
            InputError: if there are more than `features.limit` different images.
        """
        alone = [self.backbone(pad_image(_unpadded(image))[None]) for image in images]
        height, width = (_round_up(side) for side in images.shape[2:])
        return {
            name: torch.cat(
                [
                    _pad_map(maps[name], height // STRIDES[name], width // STRIDES[name])
                    for maps in alone
                ]
            )
            for name in STRIDES
        }


def with_mask(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 4 h w"]:
    """Images with a fourth channel of ones, which padding with zeros continues by zeros."""
    return torch.cat((images, torch.ones_like(images[:, :1])), dim=1)


def pad_image(image: UInt8[Tensor, "*batch 3 h w"]) -> UInt8[Tensor, "*batch 3 y x"]:
    """The image with the backbone's mean on the right and below, to multiples of 32.

    After the backbone's normalization the padding is zero, as that of its convolutions.
    """
    height, width = image.shape[-2:]
    padding = (0, _round_up(width) - width, 0, _round_up(height) - height)
    return pad(image, padding, value=MEAN)


def _unpadded(image: UInt8[Tensor, "4 h w"]) -> UInt8[Tensor, "3 y x"]:
    """The image inside its mask; on the meta device, which has no values, the whole one."""
    if image.is_meta:
        return image[:3]
    mask = image[3]
    return image[:3, : int(mask[:, 0].sum()), : int(mask[0].sum())]


def _pad_map(x: Float[Tensor, "1 k _ _"], rows: int, columns: int) -> Float[Tensor, "1 k y x"]:
    return pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]))


def _round_up(side: int) -> int:
    return -(-side // _LARGEST_STRIDE) * _LARGEST_STRIDE
