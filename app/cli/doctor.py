"""`penjing doctor`: is everything here that the service needs?"""

from pathlib import Path

import click
from rich.table import Table

from app.cli.checks import Finding, all_findings
from app.cli.frame import Exit, command, home_option
from app.cli.output import Output


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to look at.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="Port to look at.",
)
@home_option
@command
def doctor(output: Output, home: Path, host: str, port: int) -> Exit:
    """Look at everything the service needs here, and say what to do about what is missing."""
    findings = all_findings(home, host, port)
    is_fit = all(finding.status != "fail" for finding in findings)
    output.give({"ok": is_fit, "checks": [finding.as_json() for finding in findings]})
    output.show(_table(findings))
    return Exit.MET if is_fit else Exit.FAILED


def _table(findings: list[Finding]) -> Table:
    table = Table()
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(finding.status, finding.name, finding.found, finding.advice or "")
    return table
