"""The `.keras` file: architecture, weights and compiled loss, without the optimizer's state."""

import json
import re
import zipfile
from pathlib import Path

import keras

from app.errors import ExportFailed
from worker.engine.exporting.archive import EPOCH, write_zip
from worker.engine.foreign import first_line, is_out_of_memory

CONFIG = "config.json"
METADATA = "metadata.json"
# Keras numbers what layers share by where it lies in memory: other numbers in every process.
SHARED = re.compile(r'(?<="shared_object_id": )\d+')


def write_keras(model: keras.Model, path: Path) -> None:
    """Save the model; the same model gives the same bytes.

    Optimizer slots are as large as two or three copies of the weights and are of no use to run
    the model, so they are left out. The model itself stays as it was.
    Raises: ExportFailed for a model that Keras cannot save.
    """
    saved = path.with_name(f"raw-{path.name}")
    optimizer = getattr(model, "optimizer", None)
    try:
        model.optimizer = None
        model.save(saved)
    # Saving calls every layer's own methods, which raise what they like.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ExportFailed(
            f"Keras cannot save the model: {first_line(error)}",
            hint="Ask for kinds that hold no architecture of Keras, tflite for instance.",
        ) from error
    finally:
        model.optimizer = optimizer
    with zipfile.ZipFile(saved) as archive:
        members: dict[str, Path | bytes] = {
            name: archive.read(name) for name in archive.namelist() if name != METADATA
        }
        config = archive.read(CONFIG).decode()
        metadata = json.loads(archive.read(METADATA))
    members[CONFIG] = _numbered_in_order(config).encode()
    metadata["date_saved"] = "{:04}-{:02}-{:02}@{:02}:{:02}:{:02}".format(*EPOCH)
    members[METADATA] = json.dumps(metadata).encode()
    write_zip(path, members, compressed=False)
    saved.unlink()


def _numbered_in_order(config: str) -> str:
    """What is shared, numbered from 1 on as it comes up."""
    order = {found: str(n) for n, found in enumerate(dict.fromkeys(SHARED.findall(config)), 1)}
    return SHARED.sub(lambda match: order[match[0]], config)
