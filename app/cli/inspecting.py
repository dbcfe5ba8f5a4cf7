"""`penjing inspect`: what a model or a data set is, as the service understands it."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from app.cli.connect import connected
from app.cli.flags import dataset_options
from app.cli.frame import Exit, command, home_option, url_option
from app.cli.output import Output, printable
from app.cli.parameters import NUMBER
from app.datafiles.columns import shown
from app.errors import NotFound, RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions, ModelFacts, TensorSpec
from app.reports import figures
from app.settings import Settings
from app.uploads import endings
from app.uploads.formats import FORMATS, UploadKind, holds_pictures, recognize
from app.uploads.inspecting import Inspector
from app.uploads.views import DatasetView, ModelView

Facts = ModelFacts | DatasetFacts
IDS = ("mdl_", "dst_")
QUANTIZED = "yes, its weights have fewer bits than float32: jobs take the model before that only"


@dataclass(frozen=True)
class Understood:
    """A file as it was read here; nothing was uploaded."""

    name: str
    format: str
    size_bytes: int
    inspection: Facts

    def as_json(self) -> dict[str, Any]:
        facts = self.inspection.model_dump(mode="json")
        return {
            "name": self.name,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "inspection": facts,
        }


@click.command()
@click.argument("what", metavar="FILE|ID")
@click.option("--test-fraction", type=NUMBER, help="Rows kept for testing if none are set apart.")
@click.option("--label", help="csv, parquet: name of the label column.")
@url_option
@home_option
@command
def inspect(
    output: Output, /, what: str, url: str | None, home: Path, **given: float | str | None
) -> Exit:
    """Say what a model or a data set is. A FILE is read here; an ID is looked up."""
    path = Path(what)
    if path.is_file():
        read = understand_file(path, given)
        output.give(read.as_json())
        rows = [("name", read.name), ("format", read.format)]
        output.show(_table([*rows, ("size", figures.bytes_text(read.size_bytes))], read.inspection))
        return Exit.MET
    if not what.startswith(IDS):
        raise NotFound(
            f"{what} is neither a file here nor an id",
            hint="Ids begin with mdl_ (models) or dst_ (data sets).",
        )
    with connected(url, home, output, is_reading=True) as client:
        view = client.model(what) if what.startswith("mdl_") else client.dataset(what)
    output.give(view.model_dump(mode="json"))
    output.show(_table(_view_rows(view), view.inspection))
    return Exit.MET


def understand_file(path: Path, given: dict[str, float | str | None]) -> Understood:
    """What the service would understand, by its own inspector, in a confined process.

    Raises: UnsupportedFormat, RejectedUpload, Malformed.
    """
    kind = _kind(path)
    options = dataset_options(given, has_data=kind is UploadKind.DATASET)
    found = recognize(path, kind, path.name)
    return Understood(path.name, found, path.stat().st_size, _inspected(path, found, options))


def _kind(path: Path) -> UploadKind:
    """By its name; a .zip may be either."""
    ending = path.suffix.lower()
    if ending == ".zip" and holds_pictures(path):
        return UploadKind.DATASET
    is_dataset = endings.FORMATS.get(ending) in FORMATS[UploadKind.DATASET]
    return UploadKind.DATASET if is_dataset else UploadKind.MODEL


def _inspected(path: Path, file_format: str, options: DatasetOptions) -> Facts:
    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as scratch:
        inspector = Inspector(
            scratch=Path(scratch),
            limit_s=settings.inspection_limit_s,
            memory_bytes=settings.inspection_memory_bytes,
            file_bytes=settings.max_upload_bytes,
            allows_unconfined=settings.allow_unconfined,
        )
        answer = asyncio.run(inspector.inspect(path.absolute(), file_format, options))
    facts = answer.model or answer.dataset
    if facts is not None:
        return facts
    problem = answer.problem
    raise RejectedUpload(
        problem.detail if problem else "the inspection gave no answer",
        hint=problem.hint if problem else None,
        errors=problem.errors if problem else (),
    )


def _table(rows: list[tuple[str, str]], facts: Facts | None) -> Table:
    """Everything that was understood, a line each."""
    if isinstance(facts, ModelFacts):
        rows = rows + _model_rows(facts)
    elif isinstance(facts, DatasetFacts):
        rows = rows + _dataset_rows(facts)
    table = Table(show_header=False)
    table.add_column("field")
    table.add_column("value", overflow="fold")
    for field, value in rows:
        table.add_row(field, printable(value))
    return table


def _view_rows(view: ModelView | DatasetView) -> list[tuple[str, str]]:
    rows = [
        ("id", view.id),
        ("name", view.name),
        ("format", view.format),
        ("size", figures.bytes_text(view.size_bytes)),
        ("sha256", view.sha256),
        ("status", view.status),
    ]
    return rows + ([("problem", view.problem.detail)] if view.problem else [])


def _model_rows(facts: ModelFacts) -> list[tuple[str, str]]:
    rows = [
        ("class", facts.class_name),
        ("parameters", figures.count_text(facts.parameter_count)),
        *([("quantized", QUANTIZED)] if facts.is_quantized else []),
        *(("input", _spec_text(spec)) for spec in facts.inputs),
        *(("output", _spec_text(spec)) for spec in facts.outputs),
    ]
    for head in facts.heads:
        loss = f", compiled with {head.compiled_loss}" if head.compiled_loss else ""
        rows.append(("head", f"{head.output}: {head.units} units, {head.activation}{loss}"))
    for layer in facts.layers:
        count = figures.count_text(layer.parameter_count)
        rows.append(("layer", f"{layer.name} ({layer.class_name}, {count} parameters)"))
    return rows + [("note", note) for note in facts.notes]


def _dataset_rows(facts: DatasetFacts) -> list[tuple[str, str]]:
    how = " (split here)" if facts.is_split_here else ""
    rows = [("rows", f"{facts.train_rows:,} to train, {facts.test_rows:,} to test{how}")]
    for array in facts.inputs:
        reach = f"{array.minimum:g} to {array.maximum:g}"
        rows.append(("input", f"{array.name or 'x'} {array.shape} {array.dtype}, {reach}"))
    for labels in facts.labels:
        classes = f", {labels.class_count} classes" if labels.class_count else ""
        names = f": {shown(labels.classes)}" if labels.classes else ""
        rows.append(("labels", f"{labels.name or 'y'} {labels.encoding}{classes}{names}"))
    return rows + [("note", note) for note in facts.notes]


def _spec_text(spec: TensorSpec) -> str:
    shape = "unknown shape"
    if spec.shape is not None:
        shape = "(" + ", ".join("any" if n is None else str(n) for n in spec.shape) + ")"
    return f"{spec.name} {shape} {spec.dtype}"
