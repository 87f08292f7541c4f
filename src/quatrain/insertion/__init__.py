"""Insert mixers into any model, replace modules by mixers, remove them; features of frozen models.

from quatrain.insertion import FrozenFeatures, find, insert, remove, replace

surgery = insert(model, mixer, after="layer3.*.conv2", example=images)
surgery.remove()
insert(model, mixer, after="stages.2.blocks.*", example=images, layout="channels_last")
replace(model, DeformableConvSpec(), at="layer4.*.conv2")
remove(model)

features = FrozenFeatures(resnet, at=["layer3"], cache="features", limit=2000)
"""

from typing import TypeAlias

from quatrain.insertion.frozen_features import FrozenFeatures
from quatrain.insertion.shapes import Layout
from quatrain.insertion.surgery import Surgery, insert, remove, replace
from quatrain.insertion.wrappers import InsertionWrapper, ReplacementWrapper
from quatrain.nn.find import find

Change: TypeAlias = Surgery  # the names before 0.2
Inserted: TypeAlias = InsertionWrapper
Replaced: TypeAlias = ReplacementWrapper

__all__ = [
    "FrozenFeatures",
    "InsertionWrapper",
    "Layout",
    "ReplacementWrapper",
    "Surgery",
    "find",
    "insert",
    "remove",
    "replace",
]
