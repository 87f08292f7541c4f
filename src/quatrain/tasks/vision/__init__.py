"""Code that the detection and segmentation tasks share: images, warnings, batches, pictures."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.vision.attention_maps import attention_picture
    from quatrain.tasks.vision.batches import (
        BatchIndices,
        image_batches,
        image_generator,
        process_shard,
        sum_over_processes,
    )
    from quatrain.tasks.vision.data_warnings import DataWarning, DataWarnings, format_names
    from quatrain.tasks.vision.image_task import ImageTask
    from quatrain.tasks.vision.images import ImageScan, ImageSize, read_image, scan_images
    from quatrain.tasks.vision.panels import write_picture

__all__ = [
    "BatchIndices",
    "DataWarning",
    "DataWarnings",
    "ImageScan",
    "ImageSize",
    "ImageTask",
    "attention_picture",
    "format_names",
    "image_batches",
    "image_generator",
    "process_shard",
    "read_image",
    "scan_images",
    "sum_over_processes",
    "write_picture",
]
