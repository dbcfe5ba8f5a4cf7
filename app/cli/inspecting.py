"""`penjing inspect`: what a model or a data set is, as the service understands it."""

from pathlib import Path

import click
from rich.table import Table

from app.cli import figures
from app.cli.connect import connected
from app.cli.flags import dataset_options
from app.cli.frame import Exit, command, home_option, url_option
from app.cli.output import Output, printable
from app.cli.parameters import NUMBER
from app.client import Client
from app.errors import NotFound
from app.recipes.facts import DatasetFacts, ModelFacts, TensorSpec
from app.uploads.views import DatasetView, ModelView

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite")


@click.command()
@click.argument("what", metavar="FILE|ID")
@click.option("--scale", type=NUMBER, help="Data sets: value = raw x scale + offset.")
@click.option("--offset", type=NUMBER, help="Data sets: value = raw x scale + offset.")
@click.option("--label", help="csv: name of the label column.")
@url_option
@home_option
@command
def inspect(
    output: Output,
    what: str,
    scale: float | None,
    offset: float | None,
    label: str | None,
    url: str | None,
    home: Path,
) -> Exit:
    """Say what a model or a data set is. A FILE is uploaded; an ID is looked up."""
    path = Path(what)
    given = {"scale": scale, "offset": offset, "label": label}
    if not path.is_file() and not what.startswith(("mdl_", "dst_")):
        raise NotFound(
            f"{what} is neither a file here nor an id",
            hint="Ids begin with mdl_ (models) or dst_ (data sets).",
        )
    with connected(url, home, output) as client:
        if path.is_file():
            view = _upload(client, path, given)
        else:
            view = client.model(what) if what.startswith("mdl_") else client.dataset(what)
    output.give(view.model_dump(mode="json"))
    output.show(upload_table(view))
    return Exit.MET


def _upload(
    client: Client, path: Path, given: dict[str, float | str | None]
) -> ModelView | DatasetView:
    is_model = path.suffix.lower() in MODEL_SUFFIXES
    options = dataset_options(given, has_data=not is_model)
    if is_model:
        return client.upload_model(path)
    return client.upload_dataset(path, options=options)


def upload_table(view: ModelView | DatasetView) -> Table:
    """Everything that was understood, a line each."""
    rows = [
        ("id", view.id),
        ("name", view.name),
        ("format", view.format),
        ("size", figures.bytes_text(view.size_bytes)),
        ("sha256", view.sha256),
        ("status", view.status),
    ]
    if isinstance(view.inspection, ModelFacts):
        rows += _model_rows(view.inspection)
    elif isinstance(view.inspection, DatasetFacts):
        rows += _dataset_rows(view.inspection)
    table = Table(show_header=False)
    table.add_column("field")
    table.add_column("value", overflow="fold")
    for field, value in rows:
        table.add_row(field, printable(value))
    return table


def _model_rows(facts: ModelFacts) -> list[tuple[str, str]]:
    rows = [
        ("class", facts.class_name),
        ("parameters", figures.count_text(facts.parameter_count)),
        *(("input", _spec_text(spec)) for spec in facts.inputs),
        *(("output", _spec_text(spec)) for spec in facts.outputs),
    ]
    for head in facts.heads:
        loss = f", compiled with {head.compiled_loss}" if head.compiled_loss else ""
        rows.append(("head", f"{head.output}: {head.units} units, {head.activation}{loss}"))
    for layer in facts.layers:
        count = figures.count_text(layer.parameter_count)
        rows.append(("layer", f"{layer.name} ({layer.class_name}, {count} parameters)"))
    return rows


def _dataset_rows(facts: DatasetFacts) -> list[tuple[str, str]]:
    how = " (split here)" if facts.is_split_here else ""
    rows = [("rows", f"{facts.train_rows:,} to train, {facts.test_rows:,} to test{how}")]
    for array in facts.inputs:
        reach = f"{array.minimum:g} to {array.maximum:g}"
        rows.append(("input", f"{array.name or 'x'} {array.shape} {array.dtype}, {reach}"))
    for labels in facts.labels:
        classes = f", {labels.class_count} classes" if labels.class_count else ""
        rows.append(("labels", f"{labels.name or 'y'} {labels.encoding}{classes}"))
    return rows + [("note", note) for note in facts.notes]


def _spec_text(spec: TensorSpec) -> str:
    shape = "unknown shape"
    if spec.shape is not None:
        shape = "(" + ", ".join("any" if n is None else str(n) for n in spec.shape) + ")"
    return f"{spec.name} {shape} {spec.dtype}"
