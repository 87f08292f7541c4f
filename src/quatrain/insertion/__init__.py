"""Put a mixer into anybody's model, and take it out again.

from quatrain.insertion import find, insert, remove, replace

insert(model, mixer, after="layer3.*.conv2", example=images)
insert(model, mixer, after="stages.2.blocks.*", example=images, layout="channels_last")
replace(model, DeformableConvSpec(), at="layer4.*.conv2")
remove(model)
"""

from quatrain.insertion.find import find
from quatrain.insertion.layouts import Layout
from quatrain.insertion.surgery import Surgery, insert, remove, replace
from quatrain.insertion.wrappers import InsertionWrapper, ReplacementWrapper

Change, Inserted, Replaced = Surgery, InsertionWrapper, ReplacementWrapper  # deprecated names

__all__ = [
    "InsertionWrapper",
    "Layout",
    "ReplacementWrapper",
    "Surgery",
    "find",
    "insert",
    "remove",
    "replace",
]
