"""Reads `.zip` data sets of pictures: a folder for each class."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.datafiles.image_folder import Picture
from app.datafiles.pictures import PictureArchive, open_pictures
from app.errors import DataNotUsable
from worker.engine.loading.arrays import HELD_BYTES, Stored, StoredData, let_go, room
from worker.engine.loading.failing import failing


def read_images(path: Path) -> StoredData:
    """One input of uint8, [rows, height, width] or [..., 3], and the classes' numbers, [rows].

    Raises: DataNotUsable naming the picture that cannot be read.
    """
    try:
        with failing(), zipfile.ZipFile(path) as archive:
            return _read(open_pictures(archive, path.stat().st_size))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataNotUsable(
            f"the archive of pictures cannot be read: {error}", hint="Pack it anew."
        ) from error


def _read(found: PictureArchive) -> StoredData:
    folder = found.folder
    test = _split(found, folder.test) if folder.test is not None else None
    classes = ", ".join(f"{number}: {name!r}" for number, name in enumerate(folder.classes[:20]))
    more = ", ..." if len(folder.classes) > 20 else ""
    note = f"classes are numbered by the names of their folders: {classes}{more}"
    return StoredData(_split(found, folder.train), test, (*folder.notes, note))


def _split(found: PictureArchive, pictures: Sequence[Picture]) -> Stored:
    values = room((len(pictures), *found.shape), np.dtype(np.uint8))
    let_go_every = max(1, HELD_BYTES // values[0].nbytes)
    for row, pixels in enumerate(found.pixels(pictures)):
        values[row] = pixels
        if row % let_go_every == 0:
            let_go(values)
    labels = np.array([picture.label for picture in pictures], np.int64)
    return Stored({None: values}, {None: labels})
