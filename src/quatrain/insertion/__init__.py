"""Put a mixer into anybody's model, and take it out again.

from quatrain.insertion import find, insert, remove, replace

insert(model, mixer, after="layer3.*.conv2", example=images)
insert(model, mixer, after="stages.2.blocks.*", example=images, layout="channels-last")
replace(model, DeformableConvSpec(), at="layer4.*.conv2")
remove(model)
"""

from quatrain.insertion.change import Change, insert, remove, replace
from quatrain.insertion.layouts import Layout
from quatrain.insertion.places import find
from quatrain.insertion.standing import Inserted, Replaced

__all__ = ["Change", "Inserted", "Layout", "Replaced", "find", "insert", "remove", "replace"]
