"""What each machine of `benchmarks.security.kernels` runs: the self-test and the tests of the box.

    python -m benchmarks.security.kernels_inside

Standard library, and pytest as it was unpacked: there is nothing else in there. Its answer is one
line of JSON after ANSWER, among what the kernel has to say.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from worker.kernel.landlock import kernel_abi

ANSWER = "answer: "
BOX = tuple(f"tests/worker/test_{name}.py" for name in ("box_probe", "selftest"))
# Which runs the filter itself, so it depends on nobody.
FILTER = "tests/worker/test_box_filter.py"
# Without the project's own options, whose plugins are not here.
PLAIN_PYTEST = (
    *("-q", "-c", "/dev/null", "--rootdir=."),
    *("--import-mode=importlib", "--noconftest", "-p", "no:cacheprovider"),
)
SYSTEM_PYTHON, SOMEBODY = "/usr/bin/python3", 1000
# What others may not go through, so that the box cannot become one of them.
CLOSED = Path("/root")


@dataclass(frozen=True)
class Setting:
    """Who starts the box, and with which Python."""

    name: str
    python: str
    user: int
    tests: tuple[str, ...] = BOX


def settings() -> tuple[Setting, ...]:
    closed = CLOSED / "venv"
    CLOSED.chmod(0o700)
    venv.create(closed, with_pip=False)
    return (
        Setting("root", SYSTEM_PYTHON, 0, (FILTER, *BOX)),
        Setting("root, Python closed to others", str(closed / "bin" / "python"), 0),
        Setting("not root", SYSTEM_PYTHON, SOMEBODY),
    )


def tried(setting: Setting) -> dict[str, Any]:
    """How far the box holds, by its own word and by its tests."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, setting.user, setting.user)
        report = json.loads(started(setting, folder, "-m", "worker.selftest").stdout)
        results = Path(folder, "results.xml")
        options = (*PLAIN_PYTEST, f"--junit-xml={results}")
        tests = started(setting, folder, "-m", "pytest", *options, *setting.tests)
        if not results.exists():
            raise RuntimeError(f"no test was run: {tests.stdout[-2000:]}{tests.stderr[-2000:]}")
        counts = counted(results)
    return {"setting": setting.name, **report, **counts}


def started(setting: Setting, folder: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [setting.python, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"], "HOME": folder},
        capture_output=True,
        text=True,
        user=setting.user,
        group=setting.user,
        extra_groups=[],
        check=False,
    )


def counted(results: Path) -> dict[str, Any]:
    cases = list(ElementTree.parse(results).iter("testcase"))  # noqa: S314 - pytest wrote it here
    failures = [f"{case.get('name')}: {why}" for case in cases if (why := failure_of(case))]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - skipped - len(failures),
        "skipped": skipped,
        "failures": failures,
    }


def failure_of(case: ElementTree.Element) -> str | None:
    found = [each for kind in ("failure", "error") if (each := case.find(kind)) is not None]
    return (found[0].get("message") or "failed")[:300] if found else None


def main() -> None:
    machine = os.uname()
    for setting in settings():
        said = {"kernel": machine.release, "machine": machine.machine, "kernel_abi": kernel_abi()}
        said |= tried(setting)
        sys.stdout.write(ANSWER + json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
