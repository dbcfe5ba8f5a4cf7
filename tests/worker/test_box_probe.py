"""A stranger's program in the box tries each thing: what must fail does, what must work does.

The same with older editions of Landlock, under a user of its own, and not as root.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.confinement import IMPORT_ROOT
from tests.worker import box_probe
from worker.box_user import UNCOUNTED
from worker.kernel import landlock

PROBE = Path(__file__).with_name("box_probe.py")
# Readable for every user, as the interpreter of these tests may not be.
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65534
# An emulated processor, on a busy machine, takes a minute for what others do in one second.
LIMIT_S = 240
# Of this test process alone: the kernel counts processes by user, and other tests step down, too.
STARTER = 50_000 + os.getpid() % 10_000

EACCES, EPERM = {"EACCES"}, {"EPERM"}
NO_LINK = {"EXDEV", "EPERM", "EACCES"}
DONE = {"done"}
EXPECTED: dict[str, set[str]] = {
    "read_an_input": {"model"},
    "list_inputs": {"model"},
    "write_a_file": DONE,
    "make_and_remove_a_folder": DONE,
    "replace_a_file": DONE,
    "move_a_file_between_its_folders": DONE,
    "read_outside": EACCES,
    "list_outside": EACCES,
    "read_the_users": EACCES,
    "read_the_home_of_root": EACCES,
    "write_outside": EACCES,
    "create_outside": EACCES,
    "remove_outside": EACCES,
    "write_into_tmp": EACCES,
    "write_into_shm": {"EACCES", "ENOENT"},
    "move_out": NO_LINK,
    "move_in": NO_LINK,
    "link_out": NO_LINK,
    "link_in": NO_LINK,
    "link_an_input_to_where_it_may_write": NO_LINK,
    "make_a_symbolic_link": EACCES,
    "follow_a_symbolic_link": EACCES,
    "make_a_pipe": EPERM,
    "make_a_device": EPERM,
    "write_an_input": EACCES,
    "truncate_an_input": EPERM,
    "truncate_an_input_opened_for_reading": EPERM,
    "remove_an_input": EACCES,
    # It is told that they were done; that they were not is looked at from outside.
    "change_the_mode_of_an_input": DONE,
    "change_the_times_of_an_input": DONE,
    "change_the_owner_of_an_input": EPERM,
    "mark_an_input": EPERM,
    "connect_over_tcp": EPERM,
    "send_over_udp": EPERM,
    "connect_to_a_unix_socket": EPERM,
    "connect_to_an_abstract_socket": EPERM,
    "listen_over_tcp": EPERM,
    "make_a_pair_of_sockets": EPERM,
    "ask_the_kernel_over_netlink": EPERM,
    "run_a_shell": EACCES,
    "run_a_program_it_wrote": EACCES,
    "connect_from_a_program_run_by_the_loader": {"errno 1"},
    "run_itself_again": {"2"},
    "signal_its_parent": EPERM,
    "signal_the_first_process": EPERM,
    "signal_itself": DONE,
    "kill_a_process_that_it_started": DONE,
    "end_a_process_as_the_engine_does": DONE,
    "abort": {"SIGABRT"},
    "trace_its_parent": EPERM,
    "read_the_memory_of_its_parent": EPERM,
    "read_the_command_line_of_its_parent": EACCES,
    "read_its_own_command_line": EACCES,
    "see_which_processes_there_are": EACCES,
    "see_what_is_mounted": EACCES,
    "see_who_is_connected": EACCES,
    "see_names_of_keys": {"EACCES", "none"},  # in a container nothing lies over it
    "read_the_environment_of_its_parent": EACCES,
    "open_the_memory_of_its_parent": EACCES,
    "read_the_maps_of_its_parent": EACCES,
    "list_the_files_of_its_parent": EACCES,
    "open_a_file_of_its_parent": EACCES,
    "limit_its_parent": EPERM,
    "slow_its_parent": EPERM,
    "hold_its_parent": EPERM,
    "outlive_its_parent": EPERM,
    "start_a_child_that_dies_with_it": DONE,
    "leave_the_session": EPERM,
    "leave_the_group": EPERM,
    "enter_a_new_namespace_of_users": EPERM,
    "enter_a_new_network": EPERM,
    "start_a_process_in_a_new_namespace": EPERM,
    "start_a_process_the_new_way": {"ENOSYS"},
    "mount": EPERM,
    "change_the_root": EPERM,
    "set_up_a_ring": EPERM,
    "read_its_keys": EPERM,
    "load_a_program_into_the_kernel": EPERM,
    "watch_faults": EPERM,
    "count_events": EPERM,
    "watch_files": EPERM,
    "watch_many_files_at_once": EPERM,
    "reserve_a_disk": {"ENOTSUP"},
    "make_many_timers": {"EAGAIN"},
    "have_others_wait_for_a_core": EPERM,
    "make_a_file_in_memory": EPERM,
    "share_memory": EPERM,
    "make_a_queue": EPERM,
    "make_semaphores": EPERM,
    "change_its_personality": EPERM,
    "become_root": EPERM,
    "call_what_came_later": {"ENOSYS"},
    "call_by_the_second_set": {"SIGSYS"},
    "type_into_a_terminal": {"ENOTTY"},
    "outlive_others_where_memory_ends": EACCES,
    "look_who_goes_first": {"1000"},
    "hide_from_the_worker": {"1, refused: True"},
    "write_a_large_file": {"EFBIG"},
    "take_much_memory": {"MemoryError"},
    "map_much_memory": {"ENOMEM"},
    "take_memory_that_no_limit_counts": {"ENOMEM"},
    "map_more_than_page_tables_bear": {"ENOMEM"},
    "grow_its_stack": {"ValueError"},
    "have_others_wait_for_an_input": EPERM,
    "lock_an_input_twice": DONE,  # it is told so: with a lock, the second would have to wait
    "open_many_files": {"EMFILE"},
    "start_many_threads": {"RuntimeError"},
    "start_many_processes": {"EAGAIN"},
    "raise_a_limit": {"ValueError"},
    "leave_a_core": {"(0, 0)"},
    "look_for_its_parents_secrets": {"none"},
    "look_for_signals_it_would_not_hear": {"ignored: False, held back: 0"},
    # No capability in any set, NO_NEW_PRIVS, a filter.
    "look_at_its_rights": {"0 0 0 0 1 2"},
}
# On kernels before this edition.
BEFORE: dict[int, dict[str, set[str]]] = {2: {"move_a_file_between_its_folders": {"EXDEV"}}}
# And before the one that keeps signals inside, under a user that others share. The last words of a
# forked process are another signal: what the processor makes of the instruction that comes after
# the refused one.
WITHOUT_SIGNALS = {
    "kill_a_process_that_it_started": EPERM,
    "abort": {"SIGSEGV" if box_probe.IS_X86 else "SIGTRAP"},
}
# RLIMIT_NPROC does not hold root: there, the worker counts its children's processes alone.
AS_ROOT = {"start_many_processes": DONE}


@dataclass(frozen=True)
class Way:
    """Who starts the box, and on what kernel."""

    name: str
    python: Path = Path(sys.executable)
    starter: int | None = None
    newest_abi: int | None = None
    user: str | None = None

    @property
    def needs_root(self) -> bool:
        return self.user == "own" or self.starter is not None

    @property
    def due_user(self) -> str:
        """Root makes one where others can read its Python, as they can a machine's own."""
        if self.user:
            return self.user
        if os.getuid() != 0:
            return "shared"
        return "own" if reachable(self.python) else "root"

    def expected(self, name: str) -> set[str]:
        abi = min(self.newest_abi or landlock.NEWEST_ABI_USED, landlock.kernel_abi())
        found = EXPECTED[name]
        for edition, differing in BEFORE.items():
            if abi < edition:
                found = differing.get(name, found)
        if abi < landlock.SCOPE_ABI and self.due_user != "own":
            found = WITHOUT_SIGNALS.get(name, found)
        return AS_ROOT.get(name, found) if self.due_user == "root" else found


WAYS = (
    Way("as these tests run"),
    *(Way(f"with Landlock {abi}", newest_abi=abi) for abi in (1, 3, 5)),
    Way("as root, who makes a user for it", SYSTEM_PYTHON, user="own"),
    Way("as root, with a user, Landlock 1", SYSTEM_PYTHON, newest_abi=1, user="own"),
    Way("not as root", SYSTEM_PYTHON, starter=STARTER, user="shared"),
    Way("not as root, Landlock 1", SYSTEM_PYTHON, starter=STARTER, newest_abi=1, user="shared"),
)


@dataclass
class Probing:
    """One run of the probe, and what was around it."""

    way: Way
    folder: Path
    standing: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.name)
def probing(request: pytest.FixtureRequest) -> Iterator[Probing]:
    way: Way = request.param
    if landlock.kernel_abi() < (way.newest_abi or 1):
        pytest.skip("this kernel's Landlock is older")
    if way.needs_root and (os.getuid() != 0 or not reachable(way.python)):
        pytest.skip("needs root, and a Python and a folder of sources that others can read")
    with probed(way) as found:
        yield found


@contextmanager
def probed(way: Way) -> Iterator[Probing]:
    # Not pytest's own folder: that one is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="probe-"))
    try:
        with socket.create_server(("127.0.0.1", 0)) as tcp, listening(folder) as abstract:
            found = Probing(way, folder)
            run(found, made(folder, way, tcp.getsockname()[1], abstract))
            yield found
    finally:
        shutil.rmtree(folder)


@cache
def reachable(python: Path) -> bool:
    """Whether another user can run it with what is in this folder, and it is new enough."""
    program = "import sys, app.confinement; sys.exit(sys.version_info < (3, 11))"
    if not python.exists():
        return False
    try:
        tried = subprocess.run(
            [python, "-c", program], user=NOBODY, env={"PYTHONPATH": str(IMPORT_ROOT)}, cwd="/",
            capture_output=True,
        )  # fmt: skip
    except PermissionError:
        return False
    return tried.returncode == 0


def listening(folder: Path) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as named:
        named.bind(str(folder / "socket"))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{folder.name}")
    abstract.listen()
    return abstract


def made(folder: Path, way: Way, port: int, abstract: socket.socket) -> dict[str, Any]:
    """Folders of a job, its input with a second name in a store, and a canary."""
    folder.chmod(0o755)
    for name in ("in", "out", "scratch", "outside"):
        (folder / name).mkdir()
    (folder / "blob").write_text("model")
    (folder / "in" / "model").hardlink_to(folder / "blob")
    (folder / "outside" / "canary").write_text("canary")
    (folder / "out" / "planted").symlink_to(folder / "outside" / "canary")
    if way.starter is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, way.starter, way.starter, follow_symlinks=False)
    os.utime(folder / "blob", (1e9, 1e9))
    (folder / "blob").chmod(0o444)
    return {
        "input": str(folder / "in" / "model"),
        "folder": str(folder / "out"),
        "second": str(folder / "scratch"),
        "outside": str(folder / "outside"),
        "port": port,
        "socket": str(folder / "socket"),
        "abstract": folder.name,
        "loader": loader(),
        "newest_abi": way.newest_abi,
    }


def loader() -> str:
    known = (*Path("/lib64").glob("ld-linux*.so.*"), *Path("/lib").glob("ld-*.so.1"))
    return str(next(iter(known)))


def run(probing: Probing, targets: dict[str, Any]) -> None:
    starter = probing.way.starter
    ended = subprocess.run(
        [probing.way.python, PROBE, "start", json.dumps(targets)],
        env={"PYTHONPATH": str(IMPORT_ROOT), "PENJING_BROKER_URL": "redis://secret"},
        cwd="/",
        capture_output=True,
        text=True,
        user=starter,
        group=starter,
        extra_groups=None if starter is None else [],
        timeout=LIMIT_S,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    probing.standing, probing.answers = said["standing"], said["answers"]


def test_every_attempt_has_an_expectation() -> None:
    seen_from_outside = {"look_at_its_rights", "look_who_goes_first"}
    assert set(EXPECTED) == set(box_probe.ATTEMPTS) - {"look_for_open_files"} | seen_from_outside


@pytest.mark.parametrize("name", EXPECTED)
def test_program_in_the_box(name: str, probing: Probing) -> None:
    assert probing.answers[name] in probing.way.expected(name)


def test_only_its_channels_are_open(probing: Probing) -> None:
    opened = json.loads(probing.answers["look_for_open_files"])
    assert opened[:3] == [0, 1, 2]
    assert len(opened) == 4  # and the one that was named; not the two others of its starter


def test_box_says_whose_user_it_runs_under(probing: Probing) -> None:
    assert probing.standing["user"] == probing.way.due_user
    assert probing.standing["has_filter"] is True
    abi = probing.way.newest_abi or landlock.kernel_abi()
    uncounted = [UNCOUNTED] if probing.way.due_user == "root" else []
    assert probing.standing["lacking"] == [*landlock.missing_from(abi), *uncounted]


def test_nothing_changed_outside(probing: Probing) -> None:
    blob = (probing.folder / "blob").stat()
    assert (probing.folder / "blob").read_text() == "model"
    assert (blob.st_mode & 0o7777, blob.st_mtime, blob.st_nlink) == (0o444, 1e9, 2)
    assert [path.name for path in (probing.folder / "outside").iterdir()] == ["canary"]
    assert (probing.folder / "outside" / "canary").read_text() == "canary"
