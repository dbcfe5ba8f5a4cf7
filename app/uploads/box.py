"""Whether the box holds in which uploads are inspected: the worker's self-test finds it out."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

from app.confinement import environment

log = logging.getLogger(__name__)

SELF_TEST = "worker.selftest"
# It gives up by itself after 30 s.
TRIAL_LIMIT_S = 60
FAILURE_KEPT_S = 300.0


@dataclass(frozen=True)
class BoxTrial:
    """What the self-test found.

    Attributes:
        holds: nothing was otherwise than it must be.
        words: how far it holds, or why it does not.
        lacking: what is left to fewer layers here.
        closed: what no user of its own gets through to, where root could have given it one.
    """

    holds: bool
    words: str
    lacking: tuple[str, ...] = ()
    closed: str = ""


Examine = Callable[[Path], BoxTrial]


def try_box(home: Path, module: str = SELF_TEST) -> BoxTrial:
    """A process of the worker's tries what must fail in the box, and what must work there.

    In the home, if it is there: root's boxes are parted best if others may go through the folders
    to it. Nothing is left in it.
    """
    where = [str(home.absolute())] if os.access(home, os.W_OK | os.X_OK) else []
    try:
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [sys.executable, "-P", "-m", module, *where],
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TRIAL_LIMIT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return BoxTrial(False, f"its test said nothing within {TRIAL_LIMIT_S} s")
    except OSError as error:
        return BoxTrial(False, f"its test could not be started: {error.strerror}")
    return _trial(ended)


def _trial(ended: "subprocess.CompletedProcess[str]") -> BoxTrial:
    try:
        found = json.loads(ended.stdout)
    except ValueError:
        last = (ended.stderr.splitlines() or ["nothing"])[-1]
        return BoxTrial(False, f"its test ended without a word: {last}")
    return BoxTrial(found["holds"], found["words"], tuple(found["lacking"]), found["closed"])


class InspectorBox:
    """Whether inspections are confined on this machine: tried when first asked about, and kept.

    A kernel stays as it is; a full disk, or a machine too busy to answer, does not: what failed is
    tried again after `FAILURE_KEPT_S`.
    """

    def __init__(
        self,
        examine: Callable[[], BoxTrial],
        clock: Callable[[], datetime],
        *,
        allows_unconfined: bool,
    ) -> None:
        self.allows_unconfined = allows_unconfined
        self._examine = examine
        self._clock = clock
        self._one_at_a_time = Lock()
        self._last: tuple[BoxTrial, datetime] | None = None

    def holds(self) -> bool:
        with self._one_at_a_time:
            if self._last is None or not self._is_kept(*self._last):
                self._last = self._tried(), self._clock()
            return self._last[0].holds

    def _is_kept(self, trial: BoxTrial, at: datetime) -> bool:
        # A clock may be set back.
        return trial.holds or abs((self._clock() - at).total_seconds()) < FAILURE_KEPT_S

    def _tried(self) -> BoxTrial:
        trial = self._examine()
        if trial.holds:
            log.info("box.holds", extra={"how": trial.words})
        else:
            inspections = "unconfined" if self.allows_unconfined else "none"
            log.error("box.missing", extra={"why": trial.words, "inspections": inspections})
        return trial
