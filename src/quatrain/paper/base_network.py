"""The networks that the paper adds attention to, without it, in our assembly: what they execute.

Detection is ResNet-50, feature pyramid, proposals and box heads of one image of 800 x 1333, which
the detector pads to 800 x 1344; segmentation is ResNet-50 of output stride 8 and the head of CCNet
without its attention, of 768 x 768 pixels: maps of 96 x 96, as in the paper's count.

    multiply_adds("detection")
"""

import functools
from typing import Literal

from quatrain.cost import count_multiply_adds
from quatrain.cost.meta import build_on_meta, meta_image
from quatrain.models.detector import DetectorLayers, DetectorSpec
from quatrain.models.segmenter import SegmenterSpec

VisionTask = Literal["detection", "segmentation"]

SIZES: dict[VisionTask, tuple[int, int]] = {"detection": (800, 1344), "segmentation": (768, 768)}
"""Height and width of the image, in pixels."""
_COCO, _CITYSCAPES = 80, 19
"""Classes."""


@functools.cache
def multiply_adds(task: VisionTask) -> int:
    """What the network without attention executes for one image, counted on the meta device.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1.
    Differs: the paper does not say what its count of the base network holds; ours is another
        number. The auxiliary head of segmentation, which only training has, is left out.
    """
    if task == "segmentation":
        network = build_on_meta(SegmenterSpec(), _CITYSCAPES)
    else:
        spec = DetectorSpec()
        network = DetectorLayers(build_on_meta(spec, _COCO), spec.test_proposals)
    return count_multiply_adds(network, meta_image(SIZES[task]))
