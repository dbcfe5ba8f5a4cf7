"""The packed file of a Keras model: the `.keras` file it comes back as, in few bytes."""

from collections.abc import Callable
from pathlib import Path

from app.errors import ExportFailed
from worker.engine.exporting.keras_file import write_keras
from worker.engine.exporting.source import KerasSource
from worker.engine.surgery.weights import named_weights


def write_packed(source: KerasSource, path: Path, check_cancelled: Callable[[], None]) -> int:
    """Write the model at `path`. Returns: how many bytes of the file hold weights.

    Raises: ExportFailed; whatever `check_cancelled` raises.
    """
    # Imported where it is used: numba takes most of a second, and few jobs ask for this.
    from worker.engine.coding.errors import PackedFileTooLarge
    from worker.engine.coding.packing import pack

    plain = path.with_name(f"plain-{path.name}.keras")
    weights = named_weights(source.model)
    leveled = [(weights[name].numpy(), one) for name, one in source.levels.items()]
    try:
        write_keras(source.model, plain)
        packed = pack(plain, leveled, check_cancelled)
    except PackedFileTooLarge as error:
        raise ExportFailed(f"the model cannot be packed: {error.detail}") from error
    finally:
        plain.unlink(missing_ok=True)
    path.write_bytes(packed.content)
    return packed.weights_bytes
