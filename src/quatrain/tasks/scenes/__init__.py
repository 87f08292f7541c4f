"""What the vision tasks share: reading and drawing images, digit scenes, counted warnings."""

from quatrain.tasks.scenes.attention_maps import attention_picture
from quatrain.tasks.scenes.digits import DigitScenesSpec, Scene, Scenes
from quatrain.tasks.scenes.epochs import Draw, image_batches, image_generator
from quatrain.tasks.scenes.image_task import ImageTask, read_once
from quatrain.tasks.scenes.images import ImageSize, Survey, read_image, survey
from quatrain.tasks.scenes.notices import DataWarning, Tally, listed, listed_uniquely
from quatrain.tasks.scenes.pictures import write_picture
from quatrain.tasks.scenes.shards import merged, own_shard, shard

__all__ = [
    "DataWarning",
    "DigitScenesSpec",
    "Draw",
    "ImageSize",
    "ImageTask",
    "Scene",
    "Scenes",
    "Survey",
    "Tally",
    "attention_picture",
    "image_batches",
    "image_generator",
    "listed",
    "listed_uniquely",
    "merged",
    "own_shard",
    "read_image",
    "read_once",
    "shard",
    "survey",
    "write_picture",
]
