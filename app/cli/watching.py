"""Following a job: a progress bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from app.cli.output import Output, printable
from app.client import Client
from app.jobs.views import EventView, JobView
from app.reports.figures import duration_text


class Display(Protocol):
    """Where progress is shown."""

    def show(self, share: float, phase: str, detail: str) -> None: ...


class Bar:
    """A bar that is redrawn in place."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("waiting for a worker", total=1.0)

    def show(self, share: float, phase: str, detail: str) -> None:
        description = f"{phase}, {detail}" if detail else phase
        self._bar.update(self._task, completed=share, description=printable(description))


class Lines:
    """One line a phase, for logs and pipes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._began_at = time.monotonic()
        self._phase = ""

    def show(self, share: float, phase: str, detail: str) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        elapsed = duration_text(time.monotonic() - self._began_at)
        self._output.say(f"  [{elapsed:>10}, {share:4.0%}] {phase}")


@contextmanager
def display(output: Output) -> Iterator[Display]:
    """The display that fits where stderr goes."""
    if not output.news.is_terminal:
        yield Lines(output)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.news) as bar:
        yield Bar(bar)


def watch(client: Client, job_id: str, output: Output) -> JobView:
    """Follow a job to its end and return it. A Ctrl-C asks for its cancellation, then waits on.

    Raises: ApiProblem, ServiceUnreachable; KeyboardInterrupt at the second Ctrl-C.
    """
    after = 0
    with display(output) as shown:
        try:
            for event in client.events(job_id):
                after = event.seq
                show_event(event, shown, output)
        except KeyboardInterrupt:
            output.say(f"Cancelling {job_id} ... (Ctrl-C again leaves it to itself)")
            client.cancel(job_id)
            for event in client.events(job_id, after=after):
                show_event(event, shown, output)
    return client.wait(job_id)


def show_event(event: EventView, shown: Display, output: Output) -> None:
    """Put one event on the display; what is not for it is passed over."""
    message = str(event.data.get("message") or "")
    if event.type == "warning":
        output.say(f"  warning: {message}")
    elif {"progress", "phase"} <= event.data.keys():
        shown.show(float(event.data["progress"]), str(event.data["phase"]), message)
