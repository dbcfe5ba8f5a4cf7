"""One engine job in a child process, with the box around it or without."""

import hashlib
import json
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.confinement import Confinement, command
from app.jobs.request import JobRequest
from app.recipes.facts import DatasetOptions, ModelFormat
from app.settings import Settings
from benchmarks.common import EXAMPLES
from worker.children import Child
from worker.cores import Cores
from worker.engine.order import ORDER, RESULT, DatasetFile, ModelFile, Order
from worker.launching import Enclose, Launcher
from worker.limits import Limits

MODEL = EXAMPLES / "lenet5.keras"
DATA = EXAMPLES / "mnist_share.npz"
# Differ from run to run, box or not.
TIMES = frozenset(
    {
        *("latency_ms_p50", "latency_ms_p95", "latency_ms_iqr", "latency_runs", "speedup"),
        *("duration_s", "seconds_per_step", "exchange_seconds_per_step"),
        *("latency_ms_before", "latency_ms_after"),
    }
)
MEMORY = frozenset({"peak_memory_bytes"})
# No job here takes so long, however busy the machine is.
LONGEST_S = 600.0
BOXED: Enclose = command


def without_a_box(_: Confinement, program: Sequence[str], __: int) -> list[str]:
    return list(program)


@dataclass(frozen=True)
class Run:
    """How one job went: seconds from `go` to `done`, and what came out."""

    wall_s: float
    cpu_s: float
    figures: Any
    artifacts: dict[str, str]


def read_recipe(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def order_of(recipe: dict[str, Any], inputs: Path, checkpoints: Path) -> Order:
    """The example's model and data under a recipe of `examples/recipes`."""
    request = JobRequest.model_validate(recipe | {"model_id": "mdl_example"})
    return Order(
        job_id="job_example",
        model=ModelFile(
            path=linked(MODEL, inputs),
            format=ModelFormat.KERAS,
            name="lenet5",
            sha256=sha256(MODEL),
        ),
        dataset=DatasetFile(
            path=linked(DATA, inputs),
            format="npz",
            sha256=sha256(DATA),
            options=DatasetOptions(scale=1 / 255),
        ),
        recipe=request.resolved_recipe(),
        outputs=request.outputs,
        constraints=request.constraints,
        control=request.control,
        checkpoints=checkpoints,
    )


def linked(source: Path, folder: Path) -> Path:
    path = folder / source.name
    path.write_bytes(source.read_bytes())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def launcher(home: Path, enclose: Enclose = command) -> Iterator[Launcher]:
    engine = Launcher.of_engine(Limits.from_settings(Settings()), home)
    try:
        yield replace(engine, enclose=enclose)
    finally:
        engine.thread.shutdown()


def run(starter: Launcher, recipe: dict[str, Any], cores: Cores) -> Run:
    """One job in a new child; the import of TensorFlow before its start is not counted."""
    child = ready_child(starter, recipe, cores)
    try:
        before, started = children_cpu_s(), time.monotonic()
        imported_s = cpu_of(child.process.pid)
        child.go()
        await_word(child, "done")
        wall_s = time.monotonic() - started
        child.process.wait()
        cpu_s = children_cpu_s() - before - imported_s
        result = json.loads((child.folder.path / RESULT).read_text())
        offered = {one["filename"]: child.folder.path / one["path"] for one in result["artifacts"]}
        digests = {name: sha256(path) for name, path in offered.items()}
        return Run(wall_s, cpu_s, lasting(result), digests)
    finally:
        child.end()


def ready_child(starter: Launcher, recipe: dict[str, Any], cores: Cores) -> Child:
    """A new child with the job in its folder, to be told to go."""
    child = starter.start(cores)
    try:
        await_word(child, "ready")
        order = order_of(recipe, child.folder.inputs, child.folder.states)
        (child.folder.path / ORDER).write_text(order.model_dump_json())
    except BaseException:
        child.end()
        raise
    return child


def await_word(child: Child, word: str) -> None:
    until = time.monotonic() + LONGEST_S
    while (events := child.read(10)) is not None:
        if time.monotonic() > until:
            raise SystemExit(f"the child did not say {word!r} within {LONGEST_S:g} s")
        for event in events:
            if event.event == "error":
                raise SystemExit(f"the job failed: {event.problem}")
            if event.event == word:
                return
    raise SystemExit(f"the child died before it said {word!r}: {child.log_tail()}")


def children_cpu_s() -> float:
    """Of all that has ended and was waited for, and what they waited for."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def lasting(found: Any, left_out: frozenset[str] = TIMES | MEMORY) -> Any:
    """A result without what is never twice the same."""
    if isinstance(found, dict):
        return {k: lasting(v, left_out) for k, v in found.items() if k not in left_out}
    if isinstance(found, list):
        return [lasting(one, left_out) for one in found]
    return found
