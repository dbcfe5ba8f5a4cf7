"""What the scripts share: a stack of their own, a look at a process, a table."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.client import Client
from app.embedded.borrowed import borrowed_stack
from app.embedded.lock import running_stack

EXAMPLES = Path(__file__).parent.parent / "examples"
MIB = 2**20


@dataclass(frozen=True)
class Bench:
    """A running service that nobody else uses."""

    client: Client
    url: str
    home: Path

    @property
    def api_pid(self) -> int:
        running = running_stack(self.home)
        if running is None:
            raise RuntimeError("the stack has ended")
        return running.parts["api"]


@contextmanager
def bench(**settings: object) -> Iterator[Bench]:
    """The embedded stack on an empty home; `lease_s=30` becomes `PENJING_LEASE_S=30`."""
    for name, value in settings.items():
        os.environ[f"PENJING_{name.upper()}"] = str(value)
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        home = Path(folder)
        with borrowed_stack(home, is_reading=False) as stack, Client(stack.url) as client:
            yield Bench(client, stack.url, home)


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no resident memory: it has ended")


def print_table(title: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Rows of (what, measured, allowed)."""
    table = Table("", "measured", "allowed", title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
