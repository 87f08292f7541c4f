"""Detection experiments that train on a CPU: small networks, and a frozen backbone.

small_detection(parse_mixer("0010"), CocoSpec(), steps=2000)     # all layers are trained
frozen_detection(parse_mixer("0010"), CocoSpec(), steps=2000)    # all but the backbone
"""

from typing import Any

from quatrain.models.detector import DetectorSpec
from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import Mixer
from quatrain.tasks.detection.augment import DetectionAugmentation
from quatrain.tasks.detection.data import DetectionData
from quatrain.tasks.detection.task import DetectionSpec
from quatrain.tasks.vision.image_task import small_recipe
from quatrain.training import Recipe


def small_detection(
    mixer: Mixer | None,
    data: DetectionData,
    *,
    steps: int,
    longer: int = 320,
    monitor_every: int = 0,
) -> DetectionSpec:
    """The small detector with a mixer in its backbone, trained for `steps` batches of 4 images.

    Differences from the paper: ResNet-18 of half the width instead of ResNet-50, images of 320
    pixels instead of 1,333, 64 pyramid channels instead of 256, an eighth of the proposals, group
    normalization, no frozen layers, and Adam instead of SGD, since weights are not pretrained.

    Args:
        mixer: The mixer of the backbone: attention or dynamic convolution is added in conv4 and
            conv5, another convolution replaces the 3 x 3 of conv3 to conv5; None for the plain
            network.
        data: The data.
        steps: Optimizer steps, a tenth of which warms up, 200 at most.
        longer: The longer side of the images, in pixels.
        monitor_every: Steps between validations; 0 for none.
    """
    recipe = small_recipe(steps, longest_warmup=200, monitor_every=monitor_every)
    backbone = ResNetSpec(depth=18, width=32, mixer=mixer, norm="group")
    return _small(data, recipe, longer, backbone=backbone)


def frozen_detection(
    mixer: Mixer | None,
    data: DetectionData,
    *,
    steps: int,
    longer: int = 320,
    monitor_every: int = 0,
) -> DetectionSpec:
    """The small detector on a frozen backbone, trained for `steps` batches of 4 images.

    Differences from the paper: those of `small_detection`, and EfficientNet-Lite0, of which no
    layer is trained, instead of ResNet-50, with the mixer in the pyramid instead of one in each
    block. In 600 steps without a mixer the learning rate of 3e-3 reached an AP50 of 36.3 on the 63
    images of Aquarium's test part, 1e-3 33.8 (one run each).

    Args:
        mixer: The mixer of the pyramid: attention or dynamic convolution is added after the 1 x 1
            of conv4 and of conv5, another convolution replaces the 3 x 3 of conv3 to conv5; None
            for the plain network.
        data: The data.
        steps: Optimizer steps, a tenth of which warms up, 200 at most.
        longer: The longer side of the images, in pixels.
        monitor_every: Steps between validations; 0 for none.
    """
    recipe = small_recipe(
        steps, longest_warmup=200, monitor_every=monitor_every, learning_rate=3e-3
    )
    backbone = FrozenBackboneSpec()
    return _small(data, recipe, longer, backbone=backbone, pyramid_mixer=mixer)


def _small(data: DetectionData, recipe: Recipe, longer: int, **model: Any) -> DetectionSpec:
    """An experiment with a small pyramid, few proposals and small heads."""
    return DetectionSpec(
        data=data,
        model=DetectorSpec(
            channels=64,
            norm="group",
            anchor_scale=4,
            train_proposals=256,
            test_proposals=128,
            anchors_sampled=128,
            regions_sampled=64,
            head_channels=256,
            **model,
        ),
        augmentation=DetectionAugmentation(shorter=longer, longer=longer),
        recipe=recipe,
        batch=4,
    )
