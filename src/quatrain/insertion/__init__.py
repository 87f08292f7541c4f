"""Put a mixer into anybody's model, and take it out again.

from quatrain.insertion import find, insert, remove, replace

insert(model, mixer, after="layer3.*.conv2", example=images)
replace(model, DeformableConvSpec(), at="layer4.*.conv2", example=images)
"""

from quatrain.insertion.change import Change, Inserted, insert, remove, replace
from quatrain.insertion.places import find

__all__ = ["Change", "Inserted", "find", "insert", "remove", "replace"]
