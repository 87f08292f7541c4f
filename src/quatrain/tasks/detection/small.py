"""A small detector that trains from scratch on two CPU cores.

    spec = small_detection(parse_mixer("0010+deformable"), CocoSpec(), steps=1500)

Differences from the paper: ResNet-18 of half the width instead of ResNet-50, images of 320 pixels
instead of 1,333, 64 pyramid channels instead of 256, an eighth of the proposals, group
normalization, no frozen layers, and Adam instead of SGD, since weights are not pretrained.
"""

from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import Mixer
from quatrain.tasks.detection.augment import DetectionAugmentation
from quatrain.tasks.detection.data import DetectionData
from quatrain.tasks.detection.task import DetectionSpec
from quatrain.tasks.vision.recipes import small_recipe


def small_detection(
    mixer: Mixer | None,
    data: DetectionData,
    *,
    steps: int,
    longer: int = 320,
    monitor_every: int = 0,
) -> DetectionSpec:
    """The small detector with a mixer in its backbone, trained for `steps` batches of 4 images.

    Args:
        mixer: The mixer of the backbone: attention or dynamic convolution is added in conv4 and
            conv5, another convolution replaces the 3 x 3 of conv3 to conv5; None for the plain
            network.
        data: The data.
        steps: Optimizer steps, a tenth of which warms up, 200 at most.
        longer: The longer side of the images, in pixels.
        monitor_every: Steps between validations; 0 for none.
    """
    return DetectionSpec(
        data=data,
        model=DetectorSpec(
            backbone=ResNetSpec(depth=18, width=32, mixer=mixer, norm="group"),
            channels=64,
            norm="group",
            anchor_scale=4,
            train_proposals=256,
            test_proposals=128,
            anchors_sampled=128,
            regions_sampled=64,
            head_channels=256,
        ),
        augmentation=DetectionAugmentation(shorter=longer, longer=longer),
        recipe=small_recipe(steps, longest_warmup=200, monitor_every=monitor_every),
        batch=4,
    )
