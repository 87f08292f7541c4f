"""What the vision tasks share: reading images, digit scenes, and counting what is left out."""

from quatrain.tasks.scenes.digits import DigitScenesSpec, Scene, Scenes
from quatrain.tasks.scenes.epochs import Draw, image_batches, image_generator
from quatrain.tasks.scenes.images import ImageSize, Survey, read_image, survey
from quatrain.tasks.scenes.notices import DataWarning, Tally
from quatrain.tasks.scenes.shards import merged, own_shard, shard

__all__ = [
    "DataWarning",
    "DigitScenesSpec",
    "Draw",
    "ImageSize",
    "Scene",
    "Scenes",
    "Survey",
    "Tally",
    "image_batches",
    "image_generator",
    "merged",
    "own_shard",
    "read_image",
    "shard",
    "survey",
]
