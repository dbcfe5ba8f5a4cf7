"""What a job's processes may use: kept by the kernel where it can, else by the worker's watch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.confinement import Confinement, environment
from app.settings import Settings
from worker.engine.coding.kept import READY
from worker.job_folder import JobFolder

# The kernel stops later than the watch, which says what happened: a program that cannot start a
# thread only crashes.
KERNEL_ALLOWANCE = 2


@dataclass(frozen=True)
class Limits:
    """Of one child with all that it starts.

    Attributes:
        tasks: processes and threads.
        processes: of those; each costs memory that nobody counts. A training has 8 and a few.
        disk_bytes, files: what may lie in its folders at a time.
        output_bytes: the artifacts, all together, as large as their copies will be.
        readable: folders of programs, beside Python's own. For tests.
    """

    memory_bytes: int
    file_bytes: int
    tasks: int = 1024
    processes: int = 64
    disk_bytes: int = 32 << 30
    files: int = 20_000
    output_bytes: int = 8 << 30
    open_files: int = 1024
    readable: tuple[str, ...] = ()
    may_be_unconfined: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            memory_bytes=settings.job_memory_bytes,
            file_bytes=settings.job_file_bytes,
            tasks=settings.job_tasks,
            disk_bytes=settings.job_disk_bytes,
            files=settings.job_files,
            output_bytes=min(settings.job_output_bytes, settings.job_disk_bytes),
            may_be_unconfined=settings.allow_unconfined,
        )

    def confinement(
        self, folder: JobFolder, channel: int, readable: tuple[str, ...]
    ) -> Confinement:
        """What the kernel keeps for a child of this folder that answers on `channel`."""
        return Confinement(
            memory_bytes=self.memory_bytes,
            file_bytes=self.file_bytes,
            open_files=self.open_files,
            tasks=KERNEL_ALLOWANCE * self.tasks,
            readable=(str(folder.inputs), *readable),
            writable=tuple(map(str, folder.writable)),
            channels=(channel,),
            is_optional=self.may_be_unconfined,
        )


def child_environment(scratch: Path, compiled: Path | None = None) -> dict[str, str]:
    """The whole environment of a child: a few harmless variables and what TensorFlow needs.

    compiled: where machine code is that it may read.
    """
    return environment(
        scratch,
        {
            **({READY: str(compiled)} if compiled else {}),
            "KERAS_HOME": str(scratch / "keras"),
            "KERAS_BACKEND": "tensorflow",
            "MPLCONFIGDIR": str(scratch / "matplotlib"),
            "PYTHONHASHSEED": "0",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_ENABLE_ONEDNN_OPTS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
    )
