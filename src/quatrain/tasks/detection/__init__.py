"""Detection: COCO, Pascal VOC or digit scenes, augmentation, a detector, COCO's 12 numbers."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.detection.augment import DetectionAugmentation, rescale
    from quatrain.tasks.detection.coco import COCO2017, CocoSpec
    from quatrain.tasks.detection.corpus import (
        DetectionCorpus,
        DetectionPart,
        DetectionSample,
        Truth,
    )
    from quatrain.tasks.detection.data import DetectionData, read_detection
    from quatrain.tasks.detection.found import Found
    from quatrain.tasks.detection.metric import NUMBERS, DetectionMetric, DetectionScores
    from quatrain.tasks.detection.pictures import detection_picture, largest_object
    from quatrain.tasks.detection.small import small_detection
    from quatrain.tasks.detection.task import DetectionSpec, DetectionTask
    from quatrain.tasks.detection.voc import VOC0712, VOC_CLASSES, VocSpec

__all__ = [
    "COCO2017",
    "NUMBERS",
    "VOC0712",
    "VOC_CLASSES",
    "CocoSpec",
    "DetectionAugmentation",
    "DetectionCorpus",
    "DetectionData",
    "DetectionMetric",
    "DetectionPart",
    "DetectionSample",
    "DetectionScores",
    "DetectionSpec",
    "DetectionTask",
    "Found",
    "Truth",
    "VocSpec",
    "detection_picture",
    "largest_object",
    "read_detection",
    "rescale",
    "small_detection",
]
