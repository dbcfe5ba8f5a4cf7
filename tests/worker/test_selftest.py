"""The self-test says whether the box holds, by trying it: on kernels as they were, too."""

import json
from pathlib import Path

import pytest

from app.confinement import STANDING, BoxOrder, environment
from worker import selftest
from worker.box_user import UNCOUNTED
from worker.kernel import landlock
from worker.selftest import BoxReport, self_test

OLDER_ABIS = range(1, min(landlock.NEWEST_ABI_USED, landlock.kernel_abi()))
needs_landlock = pytest.mark.skipif(
    landlock.kernel_abi() == 0, reason="this kernel has no Landlock: see the test without"
)


@needs_landlock
def test_box_holds_here(tmp_path: Path) -> None:
    report = self_test(tmp_path)
    assert report.failed == ()
    assert report.holds
    assert report.in_words().startswith(f"it holds, with Landlock {report.landlock_abi} and ")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("abi", OLDER_ABIS)
def test_box_holds_on_an_older_kernel_and_says_what_it_lacks(abi: int, tmp_path: Path) -> None:
    report = self_test(tmp_path, newest_abi=abi)
    assert report.failed == ()
    assert report.landlock_abi == abi
    uncounted = (UNCOUNTED,) if report.user == "root" else ()
    assert report.lacking == (*landlock.missing_from(abi), *uncounted)
    assert all(words in report.in_words() for words in report.lacking)


def test_box_does_not_hold_without_landlock(tmp_path: Path) -> None:
    report = self_test(tmp_path, newest_abi=0)
    assert not report.holds
    assert "files cannot be restricted: this kernel has no Landlock" in report.in_words()


@needs_landlock
def test_box_does_not_hold_without_a_filter(tmp_path: Path) -> None:
    report = self_test(tmp_path, has_filter=False)
    assert not report.holds
    assert "system calls cannot be filtered" in report.in_words()


def test_self_test_notices_what_an_open_box_lets_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = json.dumps({"lacking": [], "user": "shared", "landlock_abi": 0, "closed": ""})
    monkeypatch.setattr(selftest, "boxed", without_a_box)
    monkeypatch.setattr(
        selftest, "environment", lambda home: environment(home, {STANDING: standing})
    )
    assert set(self_test(tmp_path).failed) == {
        "it could read a file outside",
        "it could write a file outside",
        "it could change its input",
        "it could connect over tcp",
        "it could connect to a unix socket",
        "it could run another program",
        "it could read what the kernel tells of processes",
        "it could send its parent a signal",
        "it could leave its session",
    }


@needs_landlock
def test_self_test_takes_no_other_failure_for_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: str(tmp_path / "missing"))
    assert self_test(tmp_path).failed == (
        "whether it could run another program was not to be found out: No such file or directory",
    )


def without_a_box(_: BoxOrder, program: list[str]) -> list[str]:
    return program


def test_report_names_every_failure() -> None:
    report = BoxReport(("it could read a file outside", "it could connect over tcp"))
    assert report.in_words() == (
        "the box does not hold: it could read a file outside; it could connect over tcp"
    )
