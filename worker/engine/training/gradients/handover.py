"""What a process that trains beside others is given, as files in a folder of the job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from app.recipes.facts import ModelFormat
from app.recipes.steps.recovery import Recovery
from app.recipes.task import Task
from worker.engine.loading.models import load_model
from worker.engine.loading.splits import Column, Split
from worker.engine.training.batches import Batches
from worker.engine.training.losses import head_losses
from worker.engine.training.optimizers import optimizer
from worker.engine.training.update import Update
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]
ROWS_AT_ONCE = 1024


class InputFile(BaseModel):
    """An input's training rows, as they are stored, in `x-<its place>.npy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    offset: float


class Orders(BaseModel):
    """How to train, from where. `seed` is the job's; `steps` are those of the whole training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: Recovery
    tasks: tuple[Task, ...]
    inputs: tuple[InputFile, ...]
    seed: int
    steps: int
    message_bytes: int
    epochs_done: int
    seen: int
    steps_done: int


class Ending(BaseModel):
    """What one of the others leaves at the end.

    The digest is of what all should have alike; bytes are those that its end of the wire counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    written_bytes: int
    read_bytes: int


class Handover:
    """The folder: written by the process that leads, read by the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def wire(self) -> Path:
        return self.folder / "wire.bin"

    def log(self, rank: int) -> Path:
        return self.folder / f"log-{rank}.txt"

    def state(self, rank: int) -> Path:
        """What is a process's own, of its model and optimizer."""
        return self.folder / f"own-{rank}.npz"

    def write(
        self, orders: Orders, model: keras.Model, batches: Batches, zeros: HeldZeros | None
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.folder / "model.keras")
        for index, column in enumerate(batches.rows.columns.values()):
            self._write_rows(index, column, batches.rows)
        for index, values in enumerate(batches.targets):
            np.save(self.folder / f"y-{index}.npy", values)
        masks: Any = zeros.masks if zeros else {}
        np.savez(self.folder / "masks.npz", **masks)
        (self.folder / "orders.json").write_text(orders.model_dump_json())

    def write_variables(self, variables: Sequence[Any]) -> None:
        """Those of model and optimizer, as they are now."""
        write_arrays(self.folder / "variables.npz", [one.numpy() for one in variables])

    def write_ending(self, rank: int, ending: Ending) -> None:
        self._ending(rank).write_text(ending.model_dump_json())

    def ending(self, rank: int) -> Ending:
        return Ending.model_validate_json(self._ending(rank).read_bytes())

    def variables(self) -> list[Array]:
        return read_arrays(self.folder / "variables.npz")

    def orders(self) -> Orders:
        return Orders.model_validate_json((self.folder / "orders.json").read_bytes())

    def model(self) -> keras.Model:
        return load_model(self.folder / "model.keras", ModelFormat.KERAS)

    def update(self, orders: Orders, model: keras.Model, batches: Batches) -> Update:
        """What one process does in a step; its optimizer knows its rank."""
        options, rank = orders.options, batches.rank
        with np.load(self.folder / "masks.npz") as masks:
            zeros = HeldZeros(model, {name: masks[name] for name in masks.files})
        chosen = optimizer(options, orders.steps, orders.seed, rank)
        losses = head_losses(options, orders.tasks, batches.targets)
        return Update(model, chosen, losses, zeros, lessons=None)

    def batches(self, orders: Orders, rank: int) -> Batches:
        """Rows and labels, mapped from the files."""
        columns = {
            one.name: Column(
                np.load(self.folder / f"x-{index}.npy", mmap_mode="r"),
                one.shape,
                np.dtype(one.dtype),
                one.scale,
                one.offset,
            )
            for index, one in enumerate(orders.inputs)
        }
        targets = [
            np.load(self.folder / f"y-{index}.npy", mmap_mode="r")
            for index in range(len(orders.tasks))
        ]
        rows = Split(columns, {}, np.arange(len(targets[0])))
        return Batches(rows, targets, orders.options.augmentation, orders.seed, rank)

    def _ending(self, rank: int) -> Path:
        return self.folder / f"ending-{rank}.json"

    def _write_rows(self, index: int, column: Column, rows: Split) -> None:
        """As they are stored: a uint8 image stays one."""
        stored = column.values
        file = np.lib.format.open_memmap(
            self.folder / f"x-{index}.npy",
            mode="w+",
            dtype=stored.dtype,
            shape=(len(rows), *stored.shape[1:]),
        )
        for start in range(0, len(rows), ROWS_AT_ONCE):
            chosen = rows.rows[start : start + ROWS_AT_ONCE]
            file[start : start + len(chosen)] = stored[chosen]
        file.flush()


def inputs_of(rows: Split) -> tuple[InputFile, ...]:
    return tuple(
        InputFile(
            name=name,
            shape=column.shape,
            dtype=str(column.dtype),
            scale=column.scale,
            offset=column.offset,
        )
        for name, column in rows.columns.items()
    )


def write_arrays(path: Path, arrays: Sequence[Array]) -> None:
    named: Any = {str(index): array for index, array in enumerate(arrays)}
    np.savez(path, **named)


def read_arrays(path: Path) -> list[Array]:
    with np.load(path) as content:
        return [content[str(index)] for index in range(len(content.files))]
