"""What the vision tasks share: reading and drawing images, digit scenes, counted warnings."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.vision.attention_maps import attention_picture
    from quatrain.tasks.vision.data_warnings import DataWarning, Tally, listed, listed_uniquely
    from quatrain.tasks.vision.image_task import ImageTask, read_cached
    from quatrain.tasks.vision.images import ImageSize, Survey, read_image, survey
    from quatrain.tasks.vision.panels import write_picture
    from quatrain.tasks.vision.sampler import Draw, image_batches, image_generator
    from quatrain.tasks.vision.sharding import merged, own_shard, shard

__all__ = [
    "DataWarning",
    "Draw",
    "ImageSize",
    "ImageTask",
    "Survey",
    "Tally",
    "attention_picture",
    "image_batches",
    "image_generator",
    "listed",
    "listed_uniquely",
    "merged",
    "own_shard",
    "read_cached",
    "read_image",
    "shard",
    "survey",
    "write_picture",
]
