"""A small segmenter that trains from scratch on two CPU cores.

    spec = small_segmentation(parse_mixer("0010+deformable"), FoldersSpec(), steps=1000)

Differences from the paper: ResNet-18 of half the width instead of ResNet-50, 128 head channels
instead of 512, half the image size, crops of 192 pixels instead of 769, and Adam instead of SGD,
since weights are not pretrained.
"""

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import Mixer
from quatrain.tasks.segmentation.augment import SegmentationAugmentation
from quatrain.tasks.segmentation.data import SegmentationData
from quatrain.tasks.segmentation.task import SegmentationSpec
from quatrain.tasks.vision.recipes import small_recipe


def small_segmentation(
    mixer: Mixer | None,
    data: SegmentationData,
    *,
    steps: int,
    scale: float = 0.5,
    crop: int = 192,
    monitor_every: int = 0,
) -> SegmentationSpec:
    """The small segmenter with a mixer in its backbone, trained for `steps` batches of 8 images.

    Args:
        mixer: The mixer of the backbone: attention or dynamic convolution is added in conv4, in
            conv5 and after it, another convolution replaces the 3 x 3 of conv3 to conv5; None for
            the plain network.
        data: The data; the default sizes suit street scenes of 480 x 360.
        steps: Optimizer steps, a tenth of which warms up, 100 at most.
        scale: Factor on the size of all images.
        crop: Height and width of training crops, in pixels of the scaled images.
        monitor_every: Steps between validations; 0 for none.
    """
    return SegmentationSpec(
        data=data,
        model=SegmenterSpec(
            backbone=ResNetSpec(depth=18, width=32, mixer=mixer, output_stride=8),
            channels=128,
            norm="batch",
        ),
        augmentation=SegmentationAugmentation(smallest=0.8, largest=1.6, crop=crop),
        recipe=small_recipe(steps, longest_warmup=100, monitor_every=monitor_every),
        scale=scale,
    )
