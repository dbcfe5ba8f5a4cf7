"""What each machine of `benchmarks.security.kernels` runs: the self-test, and the probe of the box.

    python -m benchmarks.security.kernels_inside

Standard library, and pytest as it was unpacked, for the probe's expectations are tests: there is
nothing else in there. Answers are lines of JSON after ANSWER, among what the kernel has to say.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.worker import test_box_probe as probe
from worker.kernel.landlock import kernel_abi
from worker.selftest import self_test

ANSWER = "answer: "
ONE = "as-started"
SYSTEM_PYTHON, SOMEBODY = "/usr/bin/python3", 1000
# What others may not go through, so that the box cannot become one of them.
CLOSED_PYTHON = Path("/closed/venv/bin/python")
OF_ALL: tuple[Callable[[probe.Probing], None], ...] = (
    probe.test_only_its_channels_are_open,
    probe.test_box_says_whose_user_it_runs_under,
    probe.test_nothing_changed_outside,
)


@dataclass(frozen=True)
class Setting:
    """Who starts the box, and with which Python."""

    name: str
    python: str
    user: int


SETTINGS = (
    Setting("root", SYSTEM_PYTHON, 0),
    Setting("root, Python closed to others", str(CLOSED_PYTHON), 0),
    Setting("not root", SYSTEM_PYTHON, SOMEBODY),
)


def try_as_started(name: str) -> None:
    """How far the box holds, by its own word, and what the probe got otherwise than it should."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        report = self_test(Path(folder))
    answer = {
        "setting": name,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "kernel_abi": kernel_abi(),
        "holds": report.holds,
        "words": report.in_words(),
        "attempts": len(probe.EXPECTED) if report.holds else 0,
        "failures": list(failures()) if report.holds else [],
        **{name: asdict(report)[name] for name in ("user", "lacking")},
    }
    sys.stdout.write(ANSWER + json.dumps(answer) + "\n")


def failures() -> Iterator[str]:
    with probe.probed(probe.Way(ONE)) as found:
        for name, got in found.answers.items():
            if name in probe.EXPECTED and got not in found.way.expected(name):
                yield f"{name}: {got}"
        for test in OF_ALL:
            try:
                test(found)
            except AssertionError as error:
                yield f"{test.__name__}: {error}"


def main() -> None:
    if len(sys.argv) > 1:
        try_as_started(sys.argv[1])
        return
    closed = CLOSED_PYTHON.parents[1]
    closed.parent.mkdir(mode=0o700)
    venv.create(closed, with_pip=False)
    for setting in SETTINGS:
        subprocess.run(
            [setting.python, "-m", "benchmarks.security.kernels_inside", setting.name],
            user=setting.user,
            group=setting.user,
            extra_groups=[],
            check=True,
        )


if __name__ == "__main__":
    main()
