"""Data larger than memory: what a training holds of it does not grow with it."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.recipes.facts import DatasetOptions
from app.recipes.steps.recovery import Recovery
from tests.builders import ignore_progress, never_cancelled
from worker.engine.context import StepContext
from worker.engine.loading.datasets import load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs
from worker.engine.order import DatasetFile
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train

SIDE = 1024
ROWS = 300
LIMIT_BYTES = 100 << 20


def large_model() -> Any:
    """1024x1024x1 pictures -> their mean over patches -> 2 classes."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1), name="picture"),
            keras.layers.AveragePooling2D(256, name="patches"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(2, activation="softmax", name="classes"),
        ],
        name="large_model",
    )


def resident_bytes() -> int:
    """Of this process, now; pages of files count."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def write_array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], rows: Any) -> None:
    """One uint8 array, row by row: here too it is never held as a whole."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for row in rows:
            stream.write(row.tobytes())


def pictures(rows: int) -> Any:
    for row in range(rows):
        yield np.full((SIDE, SIDE), 200 * (row % 2), np.uint8)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_train_holds_little_of_300_megabytes(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for split, rows in (("train", ROWS), ("test", 2)):
            write_array(archive, f"x_{split}", (rows, SIDE, SIDE), pictures(rows))
            labels = np.arange(rows, dtype=np.uint8) % 2
            write_array(archive, f"y_{split}", (rows,), labels)
    file = DatasetFile(
        path=path, format="npz", sha256="0" * 64, options=DatasetOptions(scale=1 / 255)
    )
    model = large_model()
    options = Recovery(epochs=1, batch_size=2, learning_rate=0.1, validation_fraction=0.2)
    context = context_on(file, model, tmp_path)
    assert context.data is not None
    few = replace(context.data, train=context.data.train.select(np.arange(20)))
    # What TensorFlow takes for itself is no matter of the data.
    train(large_model(), replace(context, data=few), options, Interventions())
    before = resident_bytes()
    seen: list[int] = []

    history = train(
        model,
        replace(
            context_on(file, model, tmp_path),
            check_cancelled=lambda: seen.append(resident_bytes()),
        ),
        options,
        Interventions(),
    )

    assert history.kept_score == 1.0
    assert max(seen) - before < LIMIT_BYTES


def context_on(file: DatasetFile, model: Any, folder: Path) -> StepContext:
    data = load_dataset(file, input_specs(model), ["classes"])
    return StepContext(
        seed=7,
        data=data,
        tasks=read_tasks(heads(model, None), data),
        masks={},
        report_progress=ignore_progress,
        check_cancelled=never_cancelled,
        baseline=model,
        load_model=OtherModels({}),
        scratch=folder,
    )
