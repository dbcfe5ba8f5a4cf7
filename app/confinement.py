"""What a process that touches an upload may have, and how such a process is started.

The box itself is `worker.box`: started by its name, it takes everything else away from itself and
then becomes the program. Standard library only.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

BOX = "worker.box"
# The box's exit status where a step that must hold did not; why is one line of JSON on its standard
# error. A program can end with it, too: it says something only of a process that never spoke.
CANNOT_CONFINE = 78
# The variable in which a boxed program finds how far the box holds, as JSON.
STANDING = "PENJING_BOX"
IMPORT_ROOT = Path(__file__).parents[1]
# What the C library and Python look at; secrets of the starter are not among it.
PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")
# Python's names for where it has its own modules, and those of others.
INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
# Modes of folders that lead to a process's own: a user of its own gets through the first without
# seeing a name in it.
PASSABLE, LISTABLE = 0o711, 0o755


@dataclass(frozen=True)
class Confinement:
    """What one boxed process, with all it starts, may have.

    Attributes:
        memory_bytes: private memory of each process (RLIMIT_DATA).
        file_bytes: the largest file it may write.
        open_files: file descriptors of each process.
        tasks: processes and threads, all together.
        readable: files, and folders with all beneath them.
        writable: folders, made by the starter. Where the box drops to a user of its own it owns
            them by then: who owns one says whether, and whose the inputs have to be readable for.
        address_bytes: address space of each process, where mapped files count, too; None takes
            64 GiB more than `memory_bytes`.
        cpu_s: processor time of each process.
        starts_processes: it may start others, which its limits do not count together; threads it
            may start anyway.
        channels: file descriptors that reach the program, beside its standard three.
        is_optional: go on where the kernel cannot do it, having done what it can.
    """

    memory_bytes: int
    file_bytes: int
    open_files: int
    tasks: int
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    address_bytes: int | None = None
    cpu_s: int | None = None
    starts_processes: bool = True
    channels: tuple[int, ...] = ()
    is_optional: bool = False

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        given: dict[str, Any] = json.loads(text)
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**given | lists)


@dataclass(frozen=True)
class BoxOrder:
    """What the box is told: the rights, and what only its starter knows.

    Attributes:
        parent_pid: whose end it does not outlive.
        libraries: where the starter's Python finds its modules.
        newest_abi: Landlock's edition at most; None takes the kernel's. For tests.
        has_filter: False leaves the filter of system calls out. For tests.
    """

    confinement: Confinement
    parent_pid: int
    libraries: tuple[str, ...]
    newest_abi: int | None = None
    has_filter: bool = True

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        given: dict[str, Any] = json.loads(text)
        confinement = Confinement.from_json(json.dumps(given.pop("confinement")))
        return cls(confinement=confinement, **given | {"libraries": tuple(given["libraries"])})


def command(confinement: Confinement, program: Sequence[str], parent_pid: int) -> list[str]:
    """What to start instead of `program`: with `environment()`, in a session of its own."""
    return boxed(BoxOrder(confinement, parent_pid, libraries()), program)


def boxed(order: BoxOrder, program: Sequence[str]) -> list[str]:
    return [sys.executable, "-S", "-P", "-m", BOX, order.as_json(), *program]


def environment(home: Path | str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a boxed process: a few harmless variables, and no others."""
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(home),
        "TMPDIR": str(home),
        # Modules come from where this one does, never from a folder that programs write in.
        "PYTHONPATH": str(IMPORT_ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **(extra or {}),
    }


def libraries() -> tuple[str, ...]:
    """Where this Python finds its modules and itself: its own folders, and of ours the two of code.

    The folder that holds ours may hold anything beside them, so it is no library by being on
    `sys.path`; only as the folder that packages are installed in.
    """
    import sysconfig  # the box imports this module, too, and has no use for it

    installed = [sysconfig.get_path(name) for name in INSTALLED]
    elsewhere = {str(IMPORT_ROOT), str(Path.cwd())}
    on_path = (path for path in sys.path if path not in elsewhere)
    packages = [str(IMPORT_ROOT / name) for name in ("app", "worker")]
    inside = _inside_prefixes((*installed, *on_path, *_of_the_interpreter()))
    native = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    found = (*inside, *packages, *(path for path in native if Path(path).is_absolute()))
    return tuple(dict.fromkeys(path for path in found if Path(path).exists()))


def make_folder(path: Path, mode: int) -> None:
    """With just this mode, whatever the umask is.

    Raises: FileExistsError, whose mode stays.
    """
    path.mkdir()
    path.chmod(mode)


def ensure_folder(path: Path, mode: int) -> None:
    """Make it, and what it is in, or take it as it is: another may have made it at the same time.

    Raises: FileExistsError where it is something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_folder(path, mode)
    except FileExistsError:
        if not path.is_dir():
            raise


def _of_the_interpreter() -> Iterable[str]:
    for prefix in {sys.prefix, sys.base_prefix, sys.base_exec_prefix}:
        yield str(Path(prefix, "pyvenv.cfg"))
        yield str(Path(prefix, "lib"))


def _inside_prefixes(paths: Iterable[str]) -> Iterable[str]:
    """Those inside an installation of Python: not a folder that a command was typed in."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    return (path for path in paths if any(prefix in Path(path).parents for prefix in prefixes))
