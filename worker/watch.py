"""What ends a child that takes more than it may: looked at from outside, several times a second."""

import time
from pathlib import Path

from app.errors import OutOfMemory
from worker.children import Child
from worker.disk import Disk
from worker.errors import DiskLimitExceeded, OutputLimitExceeded, TooManyProcesses
from worker.usage import SessionUse, unlinked_bytes, use_of_folders

# Of the folders; looking takes no more than this share of the time.
LOOK_S, LOOKING_SHARE = 1.0, 0.1
# So long a child may have been held back because it talked too fast.
FLOOD_S = 5.0
# A job offers a few files; libraries write temporary ones beside them.
MOST_OUTPUTS = 256
MIB = 20
GENTLER = "Give smaller batches or a smaller model, or let the operator raise"


class Watch:
    """Over one child while it works; `states` is the folder that outlives it."""

    def __init__(self, child: Child, states: Path, disk: Disk) -> None:
        self._child = child
        self._limits = child.limits
        self._outputs = child.folder.outputs
        self._folders = (child.folder.outputs, child.folder.scratch, states)
        self._disk = disk
        self._look_again_at = 0.0

    def check(self) -> None:
        """Raises: OutOfMemory, TooManyProcesses, DiskLimitExceeded, OutputLimitExceeded."""
        use = self._child.use()
        self._check_tasks(use)
        self._check_memory(use)
        self._check_talk()
        started_at = time.monotonic()
        if started_at >= self._look_again_at:
            self._check_outputs()
            self._check_disk(use)
            ended_at = time.monotonic()
            pause_s = max(LOOK_S, (ended_at - started_at) / LOOKING_SHARE)
            self._look_again_at = ended_at + pause_s

    def _check_tasks(self, use: SessionUse) -> None:
        if use.tasks > self._limits.tasks:
            raise TooManyProcesses(
                f"the job has {use.tasks} processes and threads; {self._limits.tasks} are allowed",
                hint="Train with fewer workers, or let the operator raise PENJING_JOB_TASKS.",
            )

    def _check_memory(self, use: SessionUse) -> None:
        limit = self._limits.memory_bytes
        if use.resident_bytes > limit:
            raise OutOfMemory(
                f"the job holds {use.resident_bytes >> MIB} MiB of memory; "
                f"{limit >> MIB} MiB are allowed",
                hint=f"{GENTLER} PENJING_JOB_MEMORY_BYTES.",
            )

    def _check_talk(self) -> None:
        for pace, what in (
            (self._child.log_pace, "lines to its log"),
            (self._child.event_pace, "events"),
        ):
            if pace.held_back_s > FLOOD_S:
                raise OutputLimitExceeded(
                    f"the job wrote {what} faster than {pace.bytes_per_s / 1024:g} KiB a second "
                    "for too long",
                    hint="No recipe makes a model talk like this; something in the model does.",
                )

    def _check_outputs(self) -> None:
        limit = self._limits.output_bytes
        use = use_of_folders((self._outputs,), MOST_OUTPUTS)
        if use.files > MOST_OUTPUTS:
            raise OutputLimitExceeded(
                f"the job made more than {MOST_OUTPUTS} output files",
                hint="A job offers one file of each kind that was asked for.",
            )
        if use.bytes > limit:
            raise OutputLimitExceeded(
                f"the job's output files take {use.bytes >> MIB} MiB; {limit >> MIB} MiB are "
                "allowed",
                hint="Ask for fewer outputs, or let the operator raise PENJING_JOB_OUTPUT_BYTES.",
            )

    def _check_disk(self, use: SessionUse) -> None:
        limits = self._limits
        found = use_of_folders(self._folders, limits.files)
        held = found.bytes + unlinked_bytes(use.pids)
        self._disk.note(self._child.folder.path, held)
        if found.files > limits.files:
            raise DiskLimitExceeded(
                f"the job holds more than {limits.files} files and folders, or some that cannot be "
                "counted",
                hint=f"{GENTLER} PENJING_JOB_FILES.",
            )
        if held > limits.disk_bytes:
            raise DiskLimitExceeded(
                f"the job holds {held >> MIB} MiB on disk; {limits.disk_bytes >> MIB} MiB are "
                "allowed",
                hint=f"{GENTLER} PENJING_JOB_DISK_BYTES.",
            )
        if self._disk.has_to_go(self._child.folder.path):
            raise DiskLimitExceeded(
                f"the worker's disk is nearly full, and the job holds {held >> MIB} MiB of it",
                hint="Run it again when there is more room; the operator can free some.",
            )
