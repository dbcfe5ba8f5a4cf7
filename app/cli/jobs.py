"""`penjing jobs ...`: what was asked for and what became of it."""

import itertools
from pathlib import Path

import click

from app.cli.connect import connected
from app.cli.frame import Exit, command, exit_of_job, home_option, url_option
from app.cli.output import Output, printable
from app.cli.running import tell_end
from app.cli.tables import job_table, jobs_table
from app.cli.watching import watch
from app.jobs.job import JobState

STATE = click.Choice([state.value for state in JobState], case_sensitive=False)


@click.group()
def jobs() -> None:
    """List, show, watch, cancel, retry and delete jobs."""


@jobs.command("list")
@click.option("--state", type=STATE, help="Only jobs in this state.")
@click.option("--technique", help="Only jobs whose recipe has this technique.")
@click.option("--model", "model_id", help="Only jobs on this model.")
@click.option("--tag", metavar="KEY[:VALUE]", help="Only jobs with this tag.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@url_option
@home_option
@command
def list_jobs(
    output: Output,
    state: str | None,
    technique: str | None,
    model_id: str | None,
    tag: str | None,
    limit: int,
    url: str | None,
    home: Path,
) -> Exit:
    """List jobs, the newest first."""
    with connected(url, home, output, is_reading=True) as client:
        found = client.jobs(
            state=JobState(state) if state else None,
            technique=technique,
            model_id=model_id,
            tag=tag,
            sort="-created_at",
        )
        shown = list(itertools.islice(found, limit))
    output.give({"items": [job.model_dump(mode="json") for job in shown]})
    output.show(jobs_table(shown) if shown else "No such jobs.")
    return Exit.MET


@jobs.command()
@click.argument("job_id")
@url_option
@home_option
@command
def show(output: Output, job_id: str, url: str | None, home: Path) -> Exit:
    """Show one job: where it stands, what came out."""
    with connected(url, home, output, is_reading=True) as client:
        job = client.job(job_id)
    output.give(job.model_dump(mode="json"))
    output.show(job_table(job))
    if job.state.is_final:
        tell_end(job, output)
    return Exit.MET


@jobs.command("watch")
@click.argument("job_id")
@url_option
@home_option
@command
def watch_job(output: Output, job_id: str, url: str | None, home: Path) -> Exit:
    """Follow a job to its end; Ctrl-C asks for its cancellation."""
    with connected(url, home, output) as client:
        job = watch(client, job_id, output)
    output.give(job.model_dump(mode="json"))
    tell_end(job, output)
    return exit_of_job(job)


@jobs.command()
@click.argument("job_id")
@url_option
@home_option
@command
def cancel(output: Output, job_id: str, url: str | None, home: Path) -> Exit:
    """Ask a job to stop; a finished one stays as it is."""
    with connected(url, home, output, is_reading=True) as client:
        job = client.cancel(job_id)
    output.give(job.model_dump(mode="json"))
    is_pending = job.cancel_requested and not job.state.is_final
    output.show(f"{job.id} is {job.state}" + (" and will be cancelled." if is_pending else "."))
    return Exit.MET


@jobs.command()
@click.argument("job_id")
@click.option("--watch", "is_watched", is_flag=True, help="Follow the new job to its end.")
@url_option
@home_option
@command
def retry(output: Output, job_id: str, is_watched: bool, url: str | None, home: Path) -> Exit:
    """Run a finished job's request again, as a new job."""
    with connected(url, home, output) as client:
        job = client.retry(job_id)
        output.say(f"{printable(job.id)} runs the request of {printable(job_id)} again.")
        if is_watched:
            job = watch(client, job.id, output)
    output.give(job.model_dump(mode="json"))
    output.show(job_table(job))
    return exit_of_job(job) if is_watched else Exit.MET


@jobs.command()
@click.argument("job_id")
@url_option
@home_option
@command
def delete(output: Output, job_id: str, url: str | None, home: Path) -> Exit:
    """Delete a finished job, its report and the files that it made."""
    with connected(url, home, output, is_reading=True) as client:
        client.delete_job(job_id)
    output.give({"deleted": job_id})
    output.show(f"{printable(job_id)} is deleted.")
    return Exit.MET
