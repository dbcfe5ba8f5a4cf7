"""How an HDF5 file begins: with how long it is (HDF5 File Format Specification 3.0, II)."""

import os
import struct
from typing import BinaryIO

from app.errors import RejectedUpload

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# By version: where the size of addresses stands, and where the addresses begin, the first being
# that of the beginning, the third that of the end.
LAYOUTS = {0: (13, 24), 1: (13, 28), 2: (9, 12), 3: (9, 12)}
ADDRESS_BYTES = 8
ADDRESSES = struct.Struct("<Q8xQ")


def check_ends(file: BinaryIO) -> None:
    """Nothing lies before the data or behind it, where another reader may see another file.

    Raises: RejectedUpload.
    """
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(64).ljust(64, b"\0")
    layout = LAYOUTS.get(start[8])
    if not start.startswith(SIGNATURE) or layout is None or start[layout[0]] != ADDRESS_BYTES:
        raise RejectedUpload(
            "the HDF5 data does not begin as Keras and h5py begin it",
            hint="Save the model again with a current Keras.",
        )
    begin, end = ADDRESSES.unpack_from(start, layout[1])
    if begin:
        raise RejectedUpload(
            f"the HDF5 data says that it begins at byte {begin}, not at the first",
            hint="Save the model again with a current Keras.",
        )
    if end != file_bytes:
        raise RejectedUpload(
            f"the HDF5 data says that it ends at byte {end}; there are {file_bytes} bytes",
            hint="Upload the file again; save the model again if it is as long as it was.",
        )
