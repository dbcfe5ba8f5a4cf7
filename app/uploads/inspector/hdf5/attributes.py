"""Looks at the attributes of HDF5 objects before any is read: plain text and numbers, and few."""

from typing import Any

import h5py
import numpy as np

from app.errors import RejectedUpload
from app.uploads.inspector.shown import shown

MAX_ATTRIBUTES = 1_000
MAX_ATTRIBUTE_BYTES = 256 * 2**20
PLAIN = frozenset({h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM})


def check_attributes(path: str, found: Any, longest_text: int) -> None:
    """Refuse what Keras never writes: references, tables, and more than the file can hold.

    Texts of any length are kept elsewhere in the file, and may be named as often as one likes. Each
    is taken for as long as the longest one; where they would be too much then, they are read.

    Raises: RejectedUpload.
    """
    count = h5py.h5a.get_num_attrs(found.id)
    if count > MAX_ATTRIBUTES:
        raise RejectedUpload(f"{shown(path)} has {count} HDF5 attributes")
    total = 0
    for index in range(count):
        attribute = h5py.h5a.open(found.id, index=index)
        name = attribute.name.decode("utf-8", "replace")
        if attribute.get_type().get_class() not in PLAIN:
            raise RejectedUpload(
                f"the HDF5 attribute {shown(name)} of {shown(path)} is neither text nor numbers",
                hint="Save the model again with a current Keras.",
            )
        total += _bytes_of(attribute, longest_text, MAX_ATTRIBUTE_BYTES - total)
        if total > MAX_ATTRIBUTE_BYTES:
            raise RejectedUpload(
                f"the HDF5 attributes of {shown(path)} are larger than {MAX_ATTRIBUTE_BYTES} bytes",
                hint="Save the model again with a current Keras, as .keras.",
            )


def _bytes_of(attribute: Any, longest_text: int, room: int) -> int:
    """What readers make of an attribute; where that is more than `room`, maybe too much."""
    kind, length = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
    size = length * kind.get_size()
    is_text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    if not is_text or size + length * longest_text <= room or size > room:
        return int(size + (length * longest_text if is_text else 0))
    # A thousand names of layers beside a configuration of 700 kB; a stranger's may be that text a
    # thousand times, which takes no more than the memory of this process.
    texts = np.empty(attribute.shape, attribute.dtype)
    attribute.read(texts)
    return int(size + sum(len(text) for text in texts.flat))
