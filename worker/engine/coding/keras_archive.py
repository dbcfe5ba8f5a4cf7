"""A `.keras` file taken apart: its texts, and the tensors of its weights where they lie."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from worker.engine.coding.forms import Tensor
from worker.engine.exporting.archive import write_zip

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the weights file. Opaque ones are taken as unsigned numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class KerasArchive:
    """The members of a `.keras` file."""

    config: str
    metadata: str
    weights: bytes

    @classmethod
    def read(cls, path: Path) -> "KerasArchive | None":
        """None for a file with more members, vocabularies for instance."""
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != [CONFIG, METADATA, WEIGHTS]:
                return None
            return cls(
                archive.read(CONFIG).decode(),
                archive.read(METADATA).decode(),
                archive.read(WEIGHTS),
            )

    def places(self) -> list[Place] | None:
        """Every tensor, groups and tensors in the order of their names' bytes.

        None where one lies in no single piece or is of no plain type of 1, 2, 4 or 8 bytes.
        """
        with h5py.File(io.BytesIO(self.weights), "r") as file:
            datasets: list[h5py.Dataset] = []
            file.visititems(lambda _, item: _keep_dataset(datasets, item))
            places = [_place(dataset) for dataset in datasets]
        known = [place for place in places if place is not None]
        return known if len(known) == len(places) else None

    def tensor(self, place: Place) -> Tensor:
        count = int(np.prod(place.shape, dtype=np.int64))
        flat = np.frombuffer(self.weights, place.dtype, count, place.offset)
        return flat.reshape(place.shape)

    def write(self, path: Path) -> None:
        members: dict[str, Path | bytes] = {
            CONFIG: self.config.encode(),
            METADATA: self.metadata.encode(),
            WEIGHTS: self.weights,
        }
        write_zip(path, members, compressed=False)


def _keep_dataset(datasets: list[h5py.Dataset], item: h5py.HLObject) -> None:
    if isinstance(item, h5py.Dataset):
        datasets.append(item)


def _place(dataset: h5py.Dataset) -> Place | None:
    dtype, offset = dataset.dtype, dataset.id.get_offset()
    if dtype.kind == "V" and dtype.itemsize in (1, 2, 4, 8):
        dtype = np.dtype(f"<u{dtype.itemsize}")
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        return None
    if offset is None and dataset.size:
        return None
    return Place(dataset.name, dataset.shape, dtype, offset or 0)
