"""The supervisor with real processes that do nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.embedded import supervisor as supervising
from app.embedded.errors import StackNotStarted
from app.embedded.logfile import CappedLog
from app.embedded.part import HEALTHY_AFTER_S, MAX_BACK_OFF_S, Part, PartSpec
from app.embedded.signals import StopSignals
from app.embedded.stack import cannot_confine
from app.embedded.supervisor import Supervisor, in_words

LASTS = "import time; time.sleep(600)"
NAMES_ITS_END = """
import signal, sys, time
def end(*_):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
WILL_NOT_END = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
# Its descendant leaves the session, holds the output, and lasts.
LEAVES_ONE_BEHIND = """
import subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print(f"left {left.pid}\\n", end="", flush=True)
time.sleep(600)
"""
TALKS_FOR_EVER = """
while True:
    print("." * 1000)
"""


def part(name: str, code: str, *arguments: str, grace_s: float = 5.0) -> PartSpec:
    return PartSpec(
        name=name,
        command=(sys.executable, "-c", code, *arguments),
        environment=os.environ,
        grace_s=grace_s,
    )


def said(log: Path, word: str) -> Callable[[], str | None]:
    """Ready once the part printed `word`."""
    return lambda: None if log.exists() and word in log.read_text() else f"no {word} yet"


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    with StopSignals() as caught:
        yield caught


@pytest.fixture
def log(tmp_path: Path) -> Iterator[CappedLog]:
    with closing(CappedLog(tmp_path / "worker.log")) as opened:
        yield opened


def stop_me() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_supervisor_restarts_a_part_when_it_is_killed(tmp_path: Path, signals: StopSignals) -> None:
    seen: list[Mapping[str, int]] = []
    news: list[str] = []

    def on_change(pids: Mapping[str, int]) -> None:
        seen.append(pids)
        if len(seen) == 1:
            os.kill(pids["worker"], signal.SIGKILL)
        else:
            stop_me()

    supervisor = Supervisor([part("worker", LASTS)], tmp_path, signals, news.append, on_change)
    assert supervisor.start(limit_s=120)
    supervisor.watch()
    supervisor.stop()

    assert len(seen) == 2
    assert seen[0]["worker"] != seen[1]["worker"]
    assert "the worker ended (killed by SIGKILL); restarting it now" in news[0]
    assert not alive(seen[1]["worker"])


def test_supervisor_stops_parts_in_reverse_order(tmp_path: Path, signals: StopSignals) -> None:
    ends = tmp_path / "ends"
    specs = [
        PartSpec(
            name=name,
            command=(sys.executable, "-c", NAMES_ITS_END, str(ends), name),
            environment=os.environ,
            grace_s=5,
            missing=said(tmp_path / f"{name}.log", "up"),
        )
        for name in ("broker", "worker", "api")
    ]
    supervisor = Supervisor(specs, tmp_path, signals, print, lambda pids: None)
    assert supervisor.start(limit_s=120)
    supervisor.stop()

    assert ends.read_text().split() == ["api", "worker", "broker"]


def test_supervisor_kills_a_part_when_its_grace_is_over(
    tmp_path: Path, signals: StopSignals
) -> None:
    pids: list[Mapping[str, int]] = []
    stubborn = PartSpec(
        name="stubborn",
        command=(sys.executable, "-c", WILL_NOT_END),
        environment=os.environ,
        grace_s=0.2,
        missing=said(tmp_path / "stubborn.log", "up"),
    )
    supervisor = Supervisor([stubborn], tmp_path, signals, print, pids.append)
    assert supervisor.start(limit_s=120)
    supervisor.stop()

    assert not alive(pids[0]["stubborn"])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("descendant", [LASTS, TALKS_FOR_EVER])
def test_supervisor_stops_when_a_descendant_that_left_holds_the_output(
    tmp_path: Path, signals: StopSignals, descendant: str
) -> None:
    log = tmp_path / "worker.log"
    spec = PartSpec(
        name="worker",
        command=(sys.executable, "-c", LEAVES_ONE_BEHIND, descendant),
        environment=os.environ,
        grace_s=5,
        missing=said(log, "left"),
    )
    supervisor = Supervisor([spec], tmp_path, signals, print, lambda pids: None)
    assert supervisor.start(limit_s=120)
    left = int(log.read_text().split("left ")[1].split()[0])
    try:
        supervisor.stop()
        assert alive(left)
    finally:
        os.kill(left, signal.SIGKILL)


def test_supervisor_shows_the_log_when_a_part_cannot_start(
    tmp_path: Path, signals: StopSignals
) -> None:
    broken = PartSpec(
        name="api",
        command=(sys.executable, "-c", "raise SystemExit('no such table')"),
        environment=os.environ,
        grace_s=1,
        missing=lambda: "it does not answer",
    )
    supervisor = Supervisor([broken], tmp_path, signals, lambda news: None, lambda pids: None)
    with pytest.raises(
        StackNotStarted, match=r"api died 3 times while starting[\s\S]*no such table"
    ):
        supervisor.start(limit_s=120)
    supervisor.stop()


def test_supervisor_says_what_is_missing_when_time_is_up(
    tmp_path: Path, signals: StopSignals
) -> None:
    slow = PartSpec(
        name="api",
        command=(sys.executable, "-c", LASTS),
        environment=os.environ,
        grace_s=1,
        missing=lambda: "no live worker",
    )
    supervisor = Supervisor([slow], tmp_path, signals, lambda news: None, lambda pids: None)
    with pytest.raises(StackNotStarted, match="not ready in time: no live worker"):
        supervisor.start(limit_s=0.2)
    supervisor.stop()


def test_supervisor_gives_up_at_once_when_a_part_says_that_it_is_no_use(
    tmp_path: Path, signals: StopSignals
) -> None:
    """A worker without a box lives and is never ready; waiting for it would take two minutes."""
    line = '{"event": "box.missing", "why": "no Landlock here", "jobs": "takes_none"}'
    worker = replace(
        part("worker", f"print({line!r}, flush=True);" + LASTS), hopeless=cannot_confine
    )
    api = replace(part("api", LASTS), missing=lambda: "confinement: no worker can confine")
    supervisor = Supervisor([worker, api], tmp_path, signals, print, lambda pids: None)
    began_at = time.monotonic()
    with pytest.raises(StackNotStarted, match="no Landlock here") as caught:
        supervisor.start(limit_s=200)
    supervisor.stop()

    assert time.monotonic() - began_at < 200
    assert caught.value.hint is not None
    assert "penjing doctor" in caught.value.hint
    assert "PENJING_ALLOW_UNCONFINED=1" in caught.value.hint


def test_supervisor_says_what_it_still_waits_for(
    tmp_path: Path, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "SAY_LACK_EVERY_S", 0.05)
    news: list[str] = []
    api = replace(part("api", LASTS), missing=lambda: "worker: none was seen" if not news else None)
    supervisor = Supervisor([api], tmp_path, signals, news.append, lambda pids: None)
    assert supervisor.start(limit_s=120)
    supervisor.stop()
    assert news == ["still waiting for the api: worker: none was seen"]


def test_supervisor_gives_up_starting_when_told_to_stop(
    tmp_path: Path, signals: StopSignals
) -> None:
    def told_to_stop() -> str:
        stop_me()
        return "never ready"

    spec = PartSpec(
        name="api",
        command=(sys.executable, "-c", LASTS),
        environment=os.environ,
        grace_s=1,
        missing=told_to_stop,
    )
    supervisor = Supervisor([spec], tmp_path, signals, lambda news: None, lambda pids: None)
    assert not supervisor.start(limit_s=120)
    supervisor.stop()


def test_part_waits_longer_each_time_when_it_keeps_dying(log: CappedLog) -> None:
    dying = Part(part("worker", LASTS), log)
    delays = [dying.schedule_restart(now=1.0) for _ in range(10)]
    assert delays[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == MAX_BACK_OFF_S


def test_part_restarts_at_once_when_it_was_healthy(log: CappedLog) -> None:
    dying = Part(part("worker", LASTS), log)
    for _ in range(4):
        dying.schedule_restart(now=1.0)
    assert dying.schedule_restart(now=1.0 + HEALTHY_AFTER_S + 1) == 0.0


def test_parts_die_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from app.embedded.part import PartSpec
from app.embedded.signals import StopSignals
from app.embedded.supervisor import Supervisor
specs = [
    PartSpec(name, (sys.executable, "-c", {LASTS!r}), os.environ, grace_s=5)
    for name in ("broker", "worker", "api")
]
with StopSignals() as signals:
    show = lambda pids: print(*pids.values(), flush=True)
    supervisor = Supervisor(specs, Path({str(tmp_path)!r}), signals, print, show)
    supervisor.start(120)
    supervisor.watch()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        supervisor.kill()
    assert gone_within(pids, limit_s=60)


def test_log_begins_anew_when_it_is_full(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "worker.log", max_bytes=10)
    for line in (b"first..\n", b"second.\n", b"third..\n"):
        log.write(line)
    log.close()
    assert (tmp_path / "worker.log").read_bytes() == b"third..\n"
    assert (tmp_path / "worker.log.1").read_bytes() == b"second.\n"


def test_log_tail_is_its_last_lines(log: CappedLog) -> None:
    log.write(b"one\ntwo\nthree\n")
    assert log.tail(2) == "two\nthree"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "killed by SIGKILL"),
        (-63, "killed by signal 63"),
    ],
)
def test_return_code_is_named_in_words(code: int, words: str) -> None:
    assert in_words(code) == words


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is dead."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def gone_within(pids: list[int], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(alive(pid) for pid in pids)
