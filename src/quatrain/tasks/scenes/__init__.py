"""What the vision tasks share: reading images, digit scenes, and counting what is left out."""

from quatrain.tasks.scenes.digits import DigitScenesSpec, Scene, Scenes
from quatrain.tasks.scenes.images import ImageSize, Survey, read_image, survey
from quatrain.tasks.scenes.notices import DataWarning, Tally
from quatrain.tasks.scenes.shards import shard

__all__ = [
    "DataWarning",
    "DigitScenesSpec",
    "ImageSize",
    "Scene",
    "Scenes",
    "Survey",
    "Tally",
    "read_image",
    "shard",
    "survey",
]
