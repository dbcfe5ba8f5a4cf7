"""The real worker with another child: `celery -A tests.e2e.faults.fault_worker worker`."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from worker import tasks
from worker.celery_app import app
from worker.launching import Launcher
from worker.limits import Limits
from worker.selftest import BoxReport

__all__ = ["app"]

ROOT = Path(__file__).parents[3]
RUN = "from tests.e2e.faults.fake_child import main; main()"


def launcher_of(limits: Limits, home: Path) -> Launcher:
    engine = Launcher.of_engine(replace(limits, readable=(str(ROOT / "tests"),)), home)
    return replace(engine, program=(sys.executable, "-c", RUN), compiled=None)


def it_does_not_hold(_: Path, __: tuple[str, ...]) -> BoxReport:
    return BoxReport(failed=("this kernel has no Landlock",))


tasks.shift.launcher_of = launcher_of
if os.environ.get("WITHOUT_A_BOX"):
    tasks.shift.examine = it_does_not_hold
