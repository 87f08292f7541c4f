"""Detection: COCO, Pascal VOC and digit scenes, augmentation, the task, and COCO's metrics."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.detection.augment import DetectionAugmentation, rescale
    from quatrain.tasks.detection.coco import COCO2017, CocoSpec
    from quatrain.tasks.detection.corpus import (
        DetectionCorpus,
        DetectionPart,
        DetectionSample,
        GroundTruth,
    )
    from quatrain.tasks.detection.data import DetectionData, read_detection
    from quatrain.tasks.detection.detections import Detections
    from quatrain.tasks.detection.metric import COCO_METRICS, DetectionMetric, DetectionScores
    from quatrain.tasks.detection.pictures import detection_picture, largest_object
    from quatrain.tasks.detection.small import frozen_detection, small_detection
    from quatrain.tasks.detection.task import DetectionSpec, DetectionTask
    from quatrain.tasks.detection.voc import VOC0712, VOC_CLASSES, VocSpec

__all__ = [
    "COCO2017",
    "COCO_METRICS",
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
    "Detections",
    "GroundTruth",
    "VocSpec",
    "detection_picture",
    "frozen_detection",
    "largest_object",
    "read_detection",
    "rescale",
    "small_detection",
]
