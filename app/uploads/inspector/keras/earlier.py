"""What to do about files of Keras 2 that Keras 3 cannot load."""

from app.uploads.inspector.keras.names import MODELS
from app.uploads.inspector.keras.walk import Spot, spots

# Keras 3 has this class elsewhere; `.h5` files name it without a module.
FUNCTIONAL_MODULE = ".engine.functional"
# What Keras 2 made of TensorFlow's own operations between layers.
OPERATIONS = frozenset(
    {
        "ClassMethod",
        "InstanceMethod",
        "InstanceProperty",
        "SlicingOpLambda",
        "TensorFlowOpLayer",
        "TFOpLambda",
    }
)
SAVE_AS_H5 = (
    "Keras 2 wrote this file, and Keras 3 cannot load it. Save it in Keras 2 with "
    "model.save('name.h5') and upload that."
)
EXPORT = (
    "Keras 2 wrote this, and Keras 3 can load it from no kind of file. Export the model in Keras 2 "
    "with model.export('folder') and upload a zip of that, or build it in Keras 3."
)


def keras2_hint(spot: Spot) -> str | None:
    """Of a class that is on no list; null where it is none that Keras 2 alone wrote."""
    found = spot.value
    if found["class_name"] in OPERATIONS:
        return EXPORT
    if not str(found.get("module")).endswith(FUNCTIONAL_MODULE):
        return None
    inside = [
        str(one.value.get("class_name")) for one in spots(found) if isinstance(one.value, dict)
    ]
    models = sum(name in MODELS for name in inside)
    # Such operations, and models inside a model, are in the way in a `.h5` file, too.
    is_stuck = spot.above is not None or models > 1 or not OPERATIONS.isdisjoint(inside)
    return EXPORT if is_stuck else SAVE_AS_H5
