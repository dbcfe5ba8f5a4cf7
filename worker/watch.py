"""What ends a child that takes more than it may: looked at from outside, several times a second."""

import time
from dataclasses import replace
from pathlib import Path

from app.errors import OutOfMemory
from worker.children import Child
from worker.disk import Disk, SpaceTaken
from worker.disk_usage import DiskUsage, as_copied, disk_usage_of, use_of_folders
from worker.errors import (
    ASK_FOR_LESS,
    DiskLimitExceeded,
    OutputLimitExceeded,
    TooManyProcesses,
)
from worker.session_usage import SessionUse, held_still, shared_once

# Of the folders; looking takes no more than this share of the time.
LOOK_S, LOOKING_SHARE = 1.0, 0.1
# Looking closely stops the job for moments: done where something is amiss, no more often than this.
CLOSE_LOOK_S = 2.0
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
        self._look_closely_at = 0.0
        self._hides = False

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
        if len(use.pids) > self._limits.processes:
            raise TooManyProcesses(
                f"the job has {len(use.pids)} processes; {self._limits.processes} are allowed",
                hint="Train with fewer workers.",
            )

    def _check_memory(self, use: SessionUse) -> None:
        limit = self._limits.memory_bytes
        if use.memory_bytes > limit and len(use.pids) > 1:
            use = shared_once(use)
            self._check_tasks(self._child.use())  # it may have forked all the while
        if use.memory_bytes > limit:
            raise OutOfMemory(
                f"the job holds {use.memory_bytes >> MIB} MiB of memory; "
                f"{limit >> MIB} MiB are allowed",
                hint=f"{GENTLER} PENJING_JOB_MEMORY_BYTES.",
            )

    def _check_talk(self) -> None:
        for pace, what in (
            (self._child.log_bucket, "lines to its log"),
            (self._child.event_bucket, "events"),
        ):
            if pace.held_back_s > FLOOD_S:
                raise OutputLimitExceeded(
                    f"the job wrote {what} faster than {pace.bytes_per_s / 1024:g} KiB a second "
                    "for too long",
                    hint="No recipe makes a model talk like this; something in the model does.",
                )

    def _check_outputs(self) -> None:
        limit = self._limits.output_bytes
        use = use_of_folders((self._outputs,), MOST_OUTPUTS, as_copied)
        if use.files > MOST_OUTPUTS:
            raise OutputLimitExceeded(
                f"the job made more than {MOST_OUTPUTS} output files",
                hint="A job offers one file of each kind that was asked for.",
            )
        if use.bytes > limit:
            raise OutputLimitExceeded(
                f"the job's output files take {use.bytes >> MIB} MiB; {limit >> MIB} MiB are "
                "allowed",
                hint=ASK_FOR_LESS,
            )

    def _check_disk(self, use: SessionUse) -> None:
        limits, job = self._limits, self._child.folder.path
        held = disk_usage_of(self._folders, use.pids, limits.files)
        held = replace(held, is_all=held.is_all and not self._hides)
        lost = self._disk.note(job, held)
        if self._is_amiss(held, lost):
            held, lost = self._look_closely(held, lost)
        hidden = lost if self._hides else SpaceTaken(0, 0)
        if held.files + hidden.files > limits.files:
            raise DiskLimitExceeded(
                f"the job holds more than {limits.files} files and folders, or some that cannot be "
                "counted",
                hint=f"{GENTLER} PENJING_JOB_FILES.",
            )
        taken_bytes = held.bytes + hidden.bytes
        if taken_bytes > limits.disk_bytes:
            raise DiskLimitExceeded(
                f"the job holds {taken_bytes >> MIB} MiB on disk; {limits.disk_bytes >> MIB} MiB "
                "are allowed",
                hint=f"{GENTLER} PENJING_JOB_DISK_BYTES.",
            )
        if self._disk.has_to_go(job):
            raise DiskLimitExceeded(
                f"the worker's disk is nearly full, and the job holds {taken_bytes >> MIB} MiB of "
                "it",
                hint="Run it again when there is more room; the operator can free some.",
            )

    def _is_amiss(self, held: DiskUsage, lost: SpaceTaken) -> bool:
        """Whether it may hold more than it may, unseen."""
        limits = self._limits
        return (
            not held.is_all
            or held.bytes + lost.bytes > limits.disk_bytes
            or held.files + lost.files > limits.files
            or self._disk.is_short()
        )

    def _look_closely(self, held: DiskUsage, lost: SpaceTaken) -> tuple[DiskUsage, SpaceTaken]:
        """Look while nothing in it moves, at mapped files, too.

        What the disk lost is this job's only where something of it cannot be seen even so.
        """
        now = time.monotonic()
        if now < self._look_closely_at:
            return held, lost
        self._look_closely_at = now + CLOSE_LOOK_S
        with held_still(self._child.process.pid):
            pids = self._child.use().pids
            held = disk_usage_of(self._folders, pids, self._limits.files, with_mapped=True)
            lost = self._disk.note(self._child.folder.path, held)
        self._hides = not held.is_all
        if held.is_all:
            self._disk.clear(self._child.folder.path)
        return held, lost
