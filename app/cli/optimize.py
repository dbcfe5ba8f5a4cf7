"""`penjing optimize`: one model, one job, files out."""

from pathlib import Path
from typing import Any

import click

from app.cli.connect import connected
from app.cli.flags import CONVERSIONS, Wishes, dataset_options, job_body, require_valid
from app.cli.frame import Exit, command, exit_of_job, home_option, url_option
from app.cli.output import Output
from app.cli.parameters import EXISTING_FILE, NUMBER, OUTPUTS, SIZE
from app.cli.running import Files, require_writable, run_job, tell_address
from app.recipes.outputs import OUTPUT_KINDS

DATASET_OPTIONS = ("scale", "offset", "test_fraction", "label")


@click.command()
@click.argument("model", type=EXISTING_FILE)
@click.option("--data", type=EXISTING_FILE, help="Data: .npz, .csv, .parquet, .zip of pictures.")
@click.option("--prune", type=NUMBER, metavar="SPARSITY", help="Share of weights to zero, [0, 1).")
@click.option("--epochs", type=click.IntRange(0), help="Training while pruning; 0 = none.")
@click.option("--fine-tune", type=click.IntRange(1), metavar="EPOCHS", help="Train at the end.")
@click.option("--teacher", type=EXISTING_FILE, help="A model to learn from while training.")
@click.option("--student", type=EXISTING_FILE, help="The student of a distillation in --recipe.")
@click.option("--fold-batch-norm", is_flag=True, help="Merge batch normalization into its layer.")
@click.option("--int8", is_flag=True, help="Weights and activations in 8-bit integers.")
@click.option("--int16x8", is_flag=True, help="8-bit weights, 16-bit activations.")
@click.option("--float16", is_flag=True, help="Weights in float16: half the size.")
@click.option("--dynamic-range", is_flag=True, help="Weights in 8 bits, activations as it runs.")
@click.option("--weight-only", is_flag=True, help="Weights in 8 bits, everything in float.")
@click.option("--recipe", type=EXISTING_FILE, help="A recipe or a job as JSON, in place of flags.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Same seed, same weights.")
@click.option("--max-accuracy-drop", type=NUMBER, help="Target: 0.005 = half a point at most.")
@click.option("--max-size", "max_size_bytes", type=SIZE, help="Target: size of the file.")
@click.option("--max-latency-ms", type=NUMBER, help="Target: p50 latency of one sample.")
@click.option("--outputs", type=OUTPUTS, help=f"Files to make: {','.join(OUTPUT_KINDS)}.")
@click.option("--control/--no-control", default=None, help="Fine-tune the untouched model, too.")
@click.option("--scale", type=NUMBER, help="Inputs: value = raw x scale + offset (1/255 works).")
@click.option("--offset", type=NUMBER, help="Inputs: value = raw x scale + offset.")
@click.option("--test-fraction", type=NUMBER, help="Rows kept for testing if none are set apart.")
@click.option("--label", help="csv, parquet: name of the label column.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False),
    help="Folder for the results.  [default: <model>-optimized]",
)
@url_option
@home_option
@command
def optimize(
    output: Output,
    /,
    model: str,
    data: str | None,
    teacher: str | None,
    student: str | None,
    out: str | None,
    url: str | None,
    home: Path,
    **given: Any,
) -> Exit:
    """Make MODEL (.keras, .h5, .tflite, SavedModel .zip) smaller and faster, and say what it cost.

    Exits with 0 if every target held, 2 on bad input, 3 if a target was missed or nothing got
    better, 4 if the job failed.
    """
    has_data = data is not None
    files = Files(
        model=Path(model),
        data=Path(data) if data else None,
        teacher=Path(teacher) if teacher else None,
        student=Path(student) if student else None,
        options=dataset_options({name: given.pop(name) for name in DATASET_OPTIONS}, has_data),
        results=Path(out or f"{Path(model).stem}-optimized"),
    )
    conversions = tuple(name for name in CONVERSIONS if given.pop(name))
    body = {
        "name": files.model.stem,
        **job_body(Wishes(**given, distill=bool(teacher), conversions=conversions), has_data),
    }
    # Now, not after an upload and minutes of work.
    require_valid(body, files.fields)
    require_writable(files.results)
    with connected(url, home, output) as client:
        job = run_job(client, files, body, output)
    tell_address(job, url, home, output)
    return exit_of_job(job)
