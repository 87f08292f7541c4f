"""Anchors and pooled regions with exact coordinates, as detectors of mmdetection have them.

Shapes: n regions of all images, c channels.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign, roi_align

_CANONICAL = 56.0
"""Pixels of the side of a square that the finest map, of stride 4, is used for, up to twice it."""


class ExactAnchors(AnchorGenerator):
    """Anchors whose corners are not rounded, spaced by the stride of their map.

    torchvision rounds the corners to pixels and spaces anchors by the size of the image divided by
    that of the map, which differs from the stride where a map was rounded up.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.1, as in mmdetection
        2.0, https://github.com/open-mmlab/mmdetection.
    """

    def __init__(
        self,
        sizes: tuple[tuple[int, ...], ...],
        ratios: tuple[tuple[float, ...], ...],
        strides: Sequence[int],
    ) -> None:
        super().__init__(sizes, ratios)
        self.map_strides = tuple(strides)

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - as in torchvision
    ) -> Tensor:
        """Anchors around the origin, by ratio (height over width) and then size."""
        height = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        side = torch.as_tensor(scales, dtype=dtype, device=device)
        heights = torch.outer(height, side).flatten()
        widths = torch.outer(1 / height, side).flatten()
        return torch.stack((-widths, -heights, widths, heights), dim=1) / 2

    def grid_anchors(
        self, grid_sizes: Sequence[Sequence[int]], strides: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """The anchors of each map, by row, column and anchor."""
        exact = [
            [torch.full_like(axis, stride) for axis in axes]
            for axes, stride in zip(strides, self.map_strides, strict=True)
        ]
        return super().grid_anchors([list(size) for size in grid_sizes], exact)


class AlignedRegions(MultiScaleRoIAlign):
    """RoIAlign whose samples are aligned with pixel centres, as many as the region has pixels.

    torchvision's class shifts each region by half a pixel of its map, and takes 2 x 2 samples per
    bin.

    Source: He et al. 2017, https://arxiv.org/abs/1703.06870, section 3, with `aligned=True` of
        Detectron2 and mmdetection 2.0; levels by Lin et al. 2017,
        https://arxiv.org/abs/1612.03144, equation 1.
    """

    def __init__(self, names: list[str], size: int, strides: Sequence[int]) -> None:
        super().__init__(names, size, -1)
        self.map_strides = tuple(strides)[: len(names)]

    def forward(
        self,
        x: dict[str, Float[Tensor, "_ c _ _"]],
        boxes: list[Float[Tensor, "_ 4"]],
        image_shapes: list[tuple[int, int]],
    ) -> Float[Tensor, "n c _ _"]:
        """The pooled regions, each from the map that fits its size."""
        del image_shapes
        maps = [x[name] for name in self.featmap_names]
        corners = torch.cat(boxes)
        images = [torch.full_like(each[:, :1], i) for i, each in enumerate(boxes)]
        regions = torch.cat((torch.cat(images), corners), dim=1)
        levels = self._levels(corners)
        size = (self.output_size[0], self.output_size[1])
        result = corners.new_zeros(len(corners), maps[0].shape[1], *size, dtype=maps[0].dtype)
        for level, (features, stride) in enumerate(zip(maps, self.map_strides, strict=True)):
            rows = torch.where(levels == level)[0]
            chosen = regions[rows].to(features.dtype)
            result[rows] = roi_align(features, chosen, size, 1 / stride, -1, aligned=True)
        return result

    def _levels(self, corners: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
        """The number of the map of each region, the finest first."""
        side = ((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])).sqrt()
        level = torch.floor(torch.log2(side / _CANONICAL + 1e-6))
        return level.clamp(0, len(self.map_strides) - 1)
