"""What a stranger's program would try, tried inside the box; run by `test_box_probe`.

    python box_probe.py start '<targets>'    starts this file in the box
    python box_probe.py try '<targets>'      tries everything, answers in one line of JSON

Standard library only: it runs under any Python, and any user.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
IS_X86 = platform.machine() == "x86_64"
GIVEN: dict[str, Any] = {}
MEMORY_BYTES, FILE_BYTES, OPEN_FILES, TASKS = 1 << 28, 1 << 25, 64, 24
KNOWN_ENVIRONMENT = {
    *("HOME", "TMPDIR", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "PENJING_BOX"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ"),
    "LC_CTYPE",  # Python sets it for itself
}
Attempt = Callable[[], object]
ATTEMPTS: dict[str, Attempt] = {}


def attempt(function: Attempt) -> Attempt:
    ATTEMPTS[function.__name__] = function
    return function


def outcome(function: Attempt) -> str:
    """`done`, what it returned, or why not: the name of the error."""
    try:
        returned = function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__
    return "done" if returned is None else str(returned)


def call(x86_64: int, aarch64: int | None = None, *arguments: int) -> None:
    """A system call by its number, where no library knows it."""
    number = x86_64 if IS_X86 or aarch64 is None else aarch64
    if LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def ended(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def apart(function: Attempt) -> str:
    """The outcome in a process of its own, for what may end it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, outcome(function).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said or ended(os.waitstatus_to_exitcode(status))


# --- files -----------------------------------------------------------------------------------


def inside(name: str) -> Path:
    return Path(GIVEN["folder"], name)


def outside(name: str) -> Path:
    return Path(GIVEN["outside"], name)


def own_file(name: str) -> Path:
    inside(name).write_bytes(b"own")
    return inside(name)


@attempt
def read_an_input() -> str:
    return Path(GIVEN["input"]).read_text()


@attempt
def list_inputs() -> str:
    return ",".join(path.name for path in Path(GIVEN["input"]).parent.iterdir())


@attempt
def write_a_file() -> None:
    own_file("own")


@attempt
def make_and_remove_a_folder() -> None:
    inside("made").mkdir()
    inside("made").rmdir()


@attempt
def replace_a_file() -> None:
    own_file("new").replace(inside("newer"))


@attempt
def move_a_file_between_its_folders() -> None:
    own_file("moving").replace(Path(GIVEN["second"], "moved"))


@attempt
def read_outside() -> None:
    outside("canary").read_bytes()


@attempt
def list_outside() -> None:
    list(Path(GIVEN["outside"]).iterdir())


@attempt
def read_the_users() -> None:
    Path("/etc/passwd").read_bytes()


@attempt
def read_the_home_of_root() -> None:
    list(Path("/root").iterdir())


@attempt
def write_outside() -> None:
    outside("canary").write_bytes(b"changed")


@attempt
def create_outside() -> None:
    outside("created").write_bytes(b"created")


@attempt
def remove_outside() -> None:
    outside("canary").unlink()


@attempt
def write_into_tmp() -> None:
    Path("/tmp/created-in-the-box").write_bytes(b"created")


@attempt
def write_into_shm() -> None:
    Path("/dev/shm/created-in-the-box").write_bytes(b"created")


@attempt
def move_out() -> None:
    own_file("leaving").replace(outside("left"))


@attempt
def move_in() -> None:
    outside("canary").replace(inside("canary"))


@attempt
def link_out() -> None:
    outside("linked").hardlink_to(own_file("linked"))


@attempt
def link_in() -> None:
    inside("linked-canary").hardlink_to(outside("canary"))


@attempt
def link_an_input_to_where_it_may_write() -> None:
    inside("linked-input").hardlink_to(GIVEN["input"])


@attempt
def make_a_symbolic_link() -> None:
    inside("pointer").symlink_to(outside("canary"))


@attempt
def follow_a_symbolic_link() -> None:
    inside("planted").read_bytes()


@attempt
def make_a_pipe() -> None:
    os.mkfifo(inside("pipe"))


@attempt
def make_a_device() -> None:
    os.mknod(inside("device"), 0o20666, os.makedev(1, 3))


@attempt
def write_an_input() -> None:
    Path(GIVEN["input"]).write_bytes(b"changed")


@attempt
def truncate_an_input() -> None:
    os.truncate(GIVEN["input"], 0)


@attempt
def truncate_an_input_opened_for_reading() -> None:
    os.close(os.open(GIVEN["input"], os.O_RDONLY | os.O_TRUNC))


@attempt
def remove_an_input() -> None:
    Path(GIVEN["input"]).unlink()


@attempt
def change_the_mode_of_an_input() -> None:
    Path(GIVEN["input"]).chmod(0o777)


@attempt
def change_the_times_of_an_input() -> None:
    os.utime(GIVEN["input"], (0, 0))


@attempt
def change_the_owner_of_an_input() -> None:
    os.chown(GIVEN["input"], os.getuid(), os.getgid())


@attempt
def mark_an_input() -> None:
    os.setxattr(GIVEN["input"], "user.mark", b"1")


# --- network ---------------------------------------------------------------------------------


@attempt
def connect_over_tcp() -> None:
    socket.create_connection(("127.0.0.1", GIVEN["port"]), timeout=5)


@attempt
def send_over_udp() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", GIVEN["port"]))


@attempt
def connect_to_a_unix_socket() -> None:
    socket.socket(socket.AF_UNIX).connect(GIVEN["socket"])


@attempt
def connect_to_an_abstract_socket() -> None:
    socket.socket(socket.AF_UNIX).connect("\0" + GIVEN["abstract"])


@attempt
def listen_over_tcp() -> None:
    socket.create_server(("127.0.0.1", 0))


@attempt
def make_a_pair_of_sockets() -> None:
    socket.socketpair()


@attempt
def ask_the_kernel_over_netlink() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


# --- programs --------------------------------------------------------------------------------


@attempt
def run_a_shell() -> None:
    subprocess.run(["/bin/sh", "-c", "true"], check=False)


@attempt
def run_a_program_it_wrote() -> None:
    copy = shutil.copyfile(os.path.realpath(sys.executable), inside("program"))
    copy.chmod(0o755)
    subprocess.run([copy, "-c", ""], check=False)


@attempt
def connect_from_a_program_run_by_the_loader() -> str:
    copy = shutil.copyfile(os.path.realpath(sys.executable), inside("program"))
    code = "import socket\ntry: socket.socket()\nexcept OSError as e: print('errno', e.errno)"
    environment = {"PYTHONHOME": sys.base_prefix, "PATH": os.environ.get("PATH", "")}
    answer = subprocess.run(
        [GIVEN["loader"], copy, "-S", "-c", code], capture_output=True, text=True, env=environment
    )
    return answer.stdout.strip() or answer.stderr[-200:]


@attempt
def run_itself_again() -> str:
    answer = subprocess.run([sys.executable, "-c", "print(1 + 1)"], capture_output=True, text=True)
    return answer.stdout.strip()


# --- other processes -------------------------------------------------------------------------


@attempt
def signal_its_parent() -> None:
    os.kill(GIVEN["parent"], 0)


@attempt
def signal_the_first_process() -> None:
    os.kill(1, 0)


@attempt
def signal_itself() -> None:
    os.kill(os.getpid(), 0)


@attempt
def kill_a_process_that_it_started() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        os.kill(child, signal.SIGKILL)
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


@attempt
def end_a_process_as_the_engine_does() -> None:
    from worker.probe import Targets, end_a_process_that_it_started

    end_a_process_that_it_started(Targets("", "", "", 0, "", ""))


@attempt
def abort() -> str:
    return apart(os.abort)


@attempt
def trace_its_parent() -> None:
    call(101, 117, 16, GIVEN["parent"], 0, 0)


@attempt
def read_the_memory_of_its_parent() -> None:
    call(310, 270, GIVEN["parent"], 0, 0, 0, 0, 0)


@attempt
def read_the_command_line_of_its_parent() -> None:
    Path(f"/proc/{GIVEN['parent']}/cmdline").read_bytes()


@attempt
def read_its_own_command_line() -> None:
    Path("/proc/self/cmdline").read_bytes()


@attempt
def see_which_processes_there_are() -> None:
    list(Path("/proc").iterdir())


@attempt
def see_what_is_mounted() -> None:
    Path("/proc/self/mountinfo").read_bytes()


@attempt
def see_who_is_connected() -> None:
    Path("/proc/self/net/tcp").read_bytes()


@attempt
def see_names_of_keys() -> str:
    return Path("/proc/keys").read_text() or "none"


@attempt
def read_the_environment_of_its_parent() -> None:
    Path(f"/proc/{GIVEN['parent']}/environ").read_bytes()


@attempt
def open_the_memory_of_its_parent() -> None:
    Path(f"/proc/{GIVEN['parent']}/mem").open("rb").close()


@attempt
def read_the_maps_of_its_parent() -> None:
    Path(f"/proc/{GIVEN['parent']}/maps").read_bytes()


@attempt
def list_the_files_of_its_parent() -> None:
    list(Path(f"/proc/{GIVEN['parent']}/fd").iterdir())


@attempt
def open_a_file_of_its_parent() -> None:
    Path(f"/proc/{GIVEN['parent']}/fd/0").open("rb").close()


@attempt
def limit_its_parent() -> None:
    resource.prlimit(GIVEN["parent"], resource.RLIMIT_CORE, (0, 0))


@attempt
def slow_its_parent() -> None:
    os.setpriority(os.PRIO_PROCESS, GIVEN["parent"], 19)


@attempt
def hold_its_parent() -> None:
    call(434, None, GIVEN["parent"], 0)


@attempt
def outlive_its_parent() -> None:
    if LIBC.prctl(1, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attempt
def start_a_child_that_dies_with_it() -> None:
    if LIBC.prctl(1, int(signal.SIGKILL), 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attempt
def leave_the_session() -> None:
    os.setsid()


@attempt
def leave_the_group() -> None:
    os.setpgid(0, 0)


# --- the kernel ------------------------------------------------------------------------------


@attempt
def enter_a_new_namespace_of_users() -> None:
    call(272, 97, 0x10000000)


@attempt
def enter_a_new_network() -> None:
    call(272, 97, 0x40000000)


@attempt
def start_a_process_in_a_new_namespace() -> None:
    call(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)


@attempt
def start_a_process_the_new_way() -> None:
    call(435, None, 0, 0)


@attempt
def mount() -> None:
    if LIBC.mount(b"none", GIVEN["folder"].encode(), b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attempt
def change_the_root() -> None:
    os.chroot(GIVEN["folder"])


@attempt
def set_up_a_ring() -> None:
    call(425, None, 8, 0)


@attempt
def read_its_keys() -> None:
    call(250, 219, 0, -3 & 0xFFFFFFFF, 0)


@attempt
def load_a_program_into_the_kernel() -> None:
    call(321, 280, 0, 0, 0)


@attempt
def watch_faults() -> None:
    call(323, 282, 0)


@attempt
def count_events() -> None:
    call(298, 241, 0, 0, 0, 0, 0)


@attempt
def watch_files() -> None:
    call(294, 26, 0)


@attempt
def watch_many_files_at_once() -> None:
    call(291, 20, 0)


@attempt
def reserve_a_disk() -> None:
    with inside("reserved").open("wb") as file:
        call(285, 47, file.fileno(), 0, 0, FILE_BYTES)


@attempt
def make_many_timers() -> str:
    def make() -> None:
        number = ctypes.c_int()
        for _ in range(2000):
            call(222, 107, 1, 0, ctypes.addressof(number))

    return apart(make)


@attempt
def have_others_wait_for_a_core() -> None:
    core_scheduling, create = 62, 1
    if LIBC.prctl(core_scheduling, create, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attempt
def make_a_file_in_memory() -> None:
    call(319, 279, 0, 0)


@attempt
def share_memory() -> None:
    call(29, 194, 0, 4096, 0o1600)


@attempt
def make_a_queue() -> None:
    call(68, 186, 0, 0o1600)


@attempt
def make_semaphores() -> None:
    call(64, 190, 0, 1, 0o1600)


@attempt
def change_its_personality() -> None:
    call(135, 92, 0x0040000)


@attempt
def become_root() -> None:
    os.setuid(0)


@attempt
def call_what_came_later() -> None:
    call(463, None, 0)


@attempt
def call_by_the_second_set() -> str:
    # Other architectures have none: there, a number this high is none of the kernel's.
    return apart(lambda: call(0x40000000 + 39))


@attempt
def type_into_a_terminal() -> None:
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")


@attempt
def outlive_others_where_memory_ends() -> None:
    Path("/proc/self/oom_score_adj").write_text("0")


@attempt
def hide_from_the_worker() -> str:
    from app.processes import keep_memory_private

    keep_memory_private()
    refused = LIBC.prctl(4, 0, 0, 0, 0) < 0
    return f"{LIBC.prctl(3, 0, 0, 0, 0)}, refused: {refused}"


# --- limits ----------------------------------------------------------------------------------


@attempt
def write_a_large_file() -> str:
    def write() -> None:
        with inside("large").open("wb") as file:
            for _ in range(2 * FILE_BYTES >> 20):
                file.write(bytes(1 << 20))

    return apart(write)


@attempt
def take_much_memory() -> str:
    return apart(lambda: len(bytearray(2 * MEMORY_BYTES)))


@attempt
def map_much_memory() -> str:
    return apart(lambda: mmap.mmap(-1, 2 * MEMORY_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


@attempt
def take_memory_that_no_limit_counts() -> None:
    mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


@attempt
def map_more_than_page_tables_bear() -> str:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return apart(lambda: mmap.mmap(-1, 1 << 40, flags, mmap.PROT_READ))


@attempt
def grow_its_stack() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 30, 1 << 30))


@attempt
def have_others_wait_for_an_input() -> None:
    import fcntl

    with Path(GIVEN["input"]).open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)


@attempt
def lock_an_input_twice() -> None:
    import fcntl

    with Path(GIVEN["input"]).open("rb") as one, Path(GIVEN["input"]).open("rb") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@attempt
def open_many_files() -> str:
    return apart(lambda: [os.dup(0) for _ in range(2 * OPEN_FILES)])


@attempt
def start_many_threads() -> str:
    def start() -> None:
        stop = threading.Event()
        threads = [threading.Thread(target=stop.wait) for _ in range(10 * TASKS)]
        try:
            for thread in threads:
                thread.start()
        finally:
            stop.set()

    return apart(start)


@attempt
def start_many_processes() -> str:
    def start() -> None:
        reading, writing = os.pipe()
        for _ in range(10 * TASKS):
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)

    return apart(start)


@attempt
def raise_a_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * FILE_BYTES, 2 * FILE_BYTES))


@attempt
def leave_a_core() -> str:
    return str(resource.getrlimit(resource.RLIMIT_CORE))


# --- what it was born with -------------------------------------------------------------------


@attempt
def look_for_its_parents_secrets() -> str:
    return ",".join(sorted(set(os.environ) - KNOWN_ENVIRONMENT)) or "none"


@attempt
def look_for_open_files() -> str:
    return str([number for number in range(OPEN_FILES) if is_open(number)])


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@attempt
def look_for_signals_it_would_not_hear() -> str:
    ignored = signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    return f"ignored: {ignored}, held back: {len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}"


def look_at_its_rights(pid: int) -> str:
    """From outside: inside it could not be seen."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    names = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp", "Groups")
    return " ".join(fields[name].strip().lstrip("0") or "0" for name in names[:-1])


# --- the two roles ---------------------------------------------------------------------------


def start() -> int:
    """As a worker would, with a secret and an open file that must not get in."""
    from app import confinement as box

    os.set_inheritable(os.open(GIVEN["input"], os.O_RDONLY), True)
    os.environ["PENJING_DATABASE_URL"] = "postgresql://secret"
    channel, other = os.pipe()
    os.set_inheritable(other, True)
    allowed = box.Confinement(
        memory_bytes=MEMORY_BYTES,
        file_bytes=FILE_BYTES,
        open_files=OPEN_FILES,
        tasks=TASKS,
        readable=(str(Path(GIVEN["input"]).parent), __file__),
        writable=(GIVEN["folder"], GIVEN["second"]),
        channels=(other,),
    )
    order = box.BoxOrder(allowed, os.getpid(), box.libraries(), GIVEN["newest_abi"])
    told = GIVEN | {"parent": os.getpid()}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    with subprocess.Popen(
        box.boxed(order, [sys.executable, __file__, "try", json.dumps(told)]),
        env=box.environment(GIVEN["folder"]),
        cwd=GIVEN["folder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        close_fds=False,
    ) as boxed:
        assert boxed.stdout is not None, "a pipe"  # for mypy
        said = json.loads(boxed.stdout.readline())
        said["answers"] |= {
            "look_at_its_rights": look_at_its_rights(boxed.pid),
            "look_who_goes_first": Path(f"/proc/{boxed.pid}/oom_score_adj").read_text().strip(),
        }
        print(json.dumps(said))
    os.close(channel)
    return boxed.returncode


def main() -> None:
    GIVEN.update(json.loads(sys.argv[2]))
    if sys.argv[1] == "start":
        sys.exit(start())
    answers = {name: outcome(function) for name, function in ATTEMPTS.items()}
    said = {"standing": json.loads(os.environ["PENJING_BOX"]), "answers": answers}
    print(json.dumps(said), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
