"""The real worker with another child: `celery -A tests.e2e.faults.fault_worker worker`."""

import sys
from pathlib import Path

from worker import tasks
from worker.celery_app import app
from worker.launching import Launcher
from worker.limits import Limits

__all__ = ["app"]

ROOT = Path(__file__).parents[3]
RUN = "from tests.e2e.faults.fake_child import main; main()"


def launcher_of(limits: Limits, home: Path) -> Launcher:
    engine = Launcher.of_engine(limits, home)
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {RUN}"
    return Launcher((sys.executable, "-c", start), limits, home, engine.thread)


tasks.shift.launcher_of = launcher_of
