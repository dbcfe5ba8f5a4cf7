"""Reads `.zip` data sets of pictures: a folder for each class.

Every picture is read and its declaration looked at. Decoding takes a thousand times as long, so of
many or large pictures only a share is decoded here; a job reads all of them, in its own box.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from app.datafiles.image_folder import MAX_PICTURES, Picture
from app.datafiles.pictures import PictureArchive, open_pictures
from app.recipes.facts import DatasetFacts, DatasetOptions, LabelArray
from app.uploads.archive import open_archive
from app.uploads.inspector.arrays import Range
from app.uploads.inspector.splits import Rows, divided, enough, set_aside_note
from app.uploads.refusals import refusing

# About five seconds of decoding.
DECODED_BYTES = 256 * 2**20


def read_images(file: BinaryIO, options: DatasetOptions) -> DatasetFacts:
    """What the archive holds.

    Raises: RejectedUpload naming the picture that does not fit.
    """
    stored_bytes = file.seek(0, os.SEEK_END)
    with open_archive(file, MAX_PICTURES) as archive, refusing():
        return _read(open_pictures(archive, stored_bytes), options)


def _read(found: PictureArchive, options: DatasetOptions) -> DatasetFacts:
    folder = found.folder
    rows = _rows(found, options)
    looked_at = _some(folder.pictures, math.prod(found.shape))
    values = Range()
    for pixels in found.pixels(looked_at):
        values.add(pixels)
    return DatasetFacts(
        format="images",
        train_rows=rows.train,
        test_rows=rows.test,
        is_split_here=folder.test is None,
        inputs=(values.as_input(None, found.shape, "uint8"),),
        labels=(_labels(folder.classes),),
        notes=tuple(_notes(found, rows, len(looked_at))),
    )


def _rows(found: PictureArchive, options: DatasetOptions) -> Rows:
    folder = found.folder
    if folder.test is None:
        return divided(len(folder.train), options.test_fraction)
    return enough(Rows(len(folder.train), len(folder.test)))


def _some(pictures: Sequence[Picture], picture_bytes: int) -> Sequence[Picture]:
    """All of them, or a share that is spread evenly over the classes."""
    return pictures[:: math.ceil(len(pictures) * picture_bytes / DECODED_BYTES)]


def _labels(classes: tuple[str, ...]) -> LabelArray:
    return LabelArray(
        name=None,
        shape=(),
        dtype="int64",
        encoding="integer",
        class_count=len(classes),
        minimum=0,
        maximum=len(classes) - 1,
        classes=classes,
    )


def _notes(found: PictureArchive, rows: Rows, looked_at: int) -> Iterator[str]:
    if found.folder.test is None:
        yield set_aside_note(rows)
    yield from found.folder.notes
    if looked_at < len(found.folder.pictures):
        yield f"{looked_at} of {len(found.folder.pictures)} pictures were decoded to look at them"
