"""`penjing demo`: a LeNet-5 becomes smaller and faster on real digits, through the real service."""

import time
from pathlib import Path

import click

import app
from app.cli.connect import connected
from app.cli.flags import read_body
from app.cli.frame import Exit, api_key_option, command, exit_of_job, home_option
from app.cli.output import Output
from app.cli.running import Files, run_job, tell_address
from app.errors import NotFound
from app.recipes.facts import DatasetOptions
from app.reports.figures import duration_text

MODEL, DATA, RECIPE = "lenet5.keras", "mnist_share.npz", "recipes/lenet5.json"
# The model was trained on pixels in [0, 1]; the file has them in 0..255.
PIXELS = DatasetOptions(scale=1 / 255)


@click.command()
@api_key_option
@home_option
@click.option(
    "--examples",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help=f"Folder with {MODEL}, {DATA} and {RECIPE}.  [default: examples/ of the source tree]",
)
@command
def demo(output: Output, home: Path, examples: Path | None) -> Exit:
    """Prune and quantize a trained LeNet-5 on real MNIST digits, and show what it cost.

    Starts broker, API and worker, uploads, submits, follows, prints, and stops everything.
    """
    began_at = time.monotonic()
    folder = examples or examples_folder()
    files = Files(folder / MODEL, folder / DATA, PIXELS, results=home / "demo")
    with connected(None, home, output) as client:
        job = run_job(client, files, read_body(folder / RECIPE), output)
    tell_address(job, None, home, output)
    output.say(f"Done in {duration_text(time.monotonic() - began_at)}.")
    return exit_of_job(job)


def examples_folder() -> Path:
    """`examples/` beside the packages, else below the working folder.

    Raises: NotFound.
    """
    for parent in (Path(app.__file__).parents[1], Path.cwd()):
        if (parent / "examples" / MODEL).is_file():
            return parent / "examples"
    raise NotFound(
        f"the demo's files ({MODEL}, {DATA}, {RECIPE}) are not here: they come with the source "
        "tree, not with the installed package",
        hint="Run it in a checkout of the source, or name the folder with --examples.",
    )
