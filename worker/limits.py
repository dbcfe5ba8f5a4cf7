"""What a child may use, and what it gets to see of its surroundings."""

import os
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from app.settings import Settings

# What the C library and Python look at; secrets of the worker are not among it.
PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")
IMPORT_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Limits:
    """Of one child, in the units of setrlimit."""

    memory_bytes: int
    file_bytes: int
    open_files: int = 1024

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(memory_bytes=settings.job_memory_bytes, file_bytes=settings.job_file_bytes)

    def apply(self) -> None:
        """Bind this process and all it starts. A limit that is already lower stays."""
        for kind, wanted in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_DATA, self.memory_bytes),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_NOFILE, self.open_files),
        ):
            _, hard = resource.getrlimit(kind)
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(kind, (value, value))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def child_environment(home: Path) -> dict[str, str]:
    """The whole environment of a child: a few harmless variables and what TensorFlow needs."""
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(home),
        "TMPDIR": str(home),
        "KERAS_HOME": str(home / "keras"),
        "KERAS_BACKEND": "tensorflow",
        "PYTHONHASHSEED": "0",
        # Modules come from where this one does, never from the folder that jobs write in.
        "PYTHONPATH": str(IMPORT_ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
