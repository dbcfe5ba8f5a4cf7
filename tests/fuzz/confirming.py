"""Native code that crashes or loops cannot be mended here: the inspector's process must hold it."""

import asyncio
import tempfile
import time
from pathlib import Path

from app.errors import PenjingError
from app.recipes.facts import DatasetOptions
from app.uploads.formats import recognize
from app.uploads.inspecting import Inspector
from tests.fuzz.cases import Case
from tests.fuzz.reading import KINDS, MEMORY_BYTES

# The limit is the inspector's to keep, however short it is; a process takes a while to start.
LIMIT_S, MARGIN_S = 4.0, 6.0


def is_held(given: Case) -> bool:
    """Whether the inspector as it is in service has an answer in time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(given.content)
        begun = time.monotonic()
        try:
            file_format = recognize(path, KINDS[given.kind], given.name)
        except PenjingError:
            return True
        inspecting = _inspector(Path(folder)).inspect(path, file_format, DatasetOptions())
        asyncio.run(inspecting)
        return time.monotonic() - begun < LIMIT_S + MARGIN_S


def _inspector(scratch: Path) -> Inspector:
    return Inspector(
        scratch=scratch,
        limit_s=LIMIT_S,
        memory_bytes=MEMORY_BYTES,
        file_bytes=MEMORY_BYTES,
    )
