"""Segmentation: Cityscapes, folders and digit scenes, augmentation, the task, and IoU."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.segmentation.augment import SegmentationAugmentation
    from quatrain.tasks.segmentation.cityscapes import CityscapesSpec
    from quatrain.tasks.segmentation.corpus import (
        IGNORE,
        SegmentationClass,
        SegmentationCorpus,
        SegmentationPart,
        SegmentationSample,
    )
    from quatrain.tasks.segmentation.data import SegmentationData, read_segmentation
    from quatrain.tasks.segmentation.folders import FoldersSpec
    from quatrain.tasks.segmentation.inference import Testing, TilesSpec, WholeImageSpec
    from quatrain.tasks.segmentation.metric import ConfusionMatrix, SegmentationScores
    from quatrain.tasks.segmentation.pictures import object_pixel, segmentation_picture
    from quatrain.tasks.segmentation.task import (
        SegmentationSpec,
        SegmentationTask,
        frozen_segmentation,
        small_segmentation,
    )

__all__ = [
    "IGNORE",
    "CityscapesSpec",
    "ConfusionMatrix",
    "FoldersSpec",
    "SegmentationAugmentation",
    "SegmentationClass",
    "SegmentationCorpus",
    "SegmentationData",
    "SegmentationPart",
    "SegmentationSample",
    "SegmentationScores",
    "SegmentationSpec",
    "SegmentationTask",
    "Testing",
    "TilesSpec",
    "WholeImageSpec",
    "frozen_segmentation",
    "object_pixel",
    "read_segmentation",
    "segmentation_picture",
    "small_segmentation",
]
