"""`penjing quotas` and `penjing audit`: for who operates a service, in its database."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.table import Table

from app.accounts.audit import AuditLog, AuditRecord
from app.accounts.audited_changes import AuditedChange, record_change
from app.accounts.quotas import Quotas, agree_on_quotas
from app.cli.flags import size_bytes
from app.cli.frame import Exit, command, home_option
from app.cli.keys import accounts_of
from app.cli.output import Output, printable
from app.cli.parameters import TENANT, lifetime
from app.errors import Malformed, NotFound
from app.reports.figures import bytes_text

ANY = "any"
DEFAULT = "default"
NAMES = ", ".join(Quotas.model_fields)


@click.command()
@click.argument("tenant", type=TENANT)
@click.argument("changes", metavar="[NAME=VALUE]...", nargs=-1)
@home_option
@command
def quotas(output: Output, tenant: str, changes: tuple[str, ...], home: Path) -> Exit:
    """Show what a tenant may have, or agree on something else than the settings say.

    NAME is storage_bytes, upload_bytes, jobs_queued, jobs_running or run_s (a month). VALUE is a
    number, a size (10GiB), for run_s a time (100h, 90s), `any` for no quota, or `default`.
    """
    agreed = dict(change_of(text) for text in changes)
    dropped = {name for name, value in agreed.items() if value == DEFAULT}
    with accounts_of(home) as accounts:
        there = accounts.store.tenant_named(tenant)
        if there is None:
            raise NotFound(
                f"there is no tenant {tenant!r}", hint="`penjing keys create --tenant` makes one."
            )
        with accounts.store.database.write() as connection:
            own = agree_on_quotas(connection, there.id, agreed, dropped)
            if agreed:
                change = AuditedChange(there.id, "quotas.set", 200)
                record_change(connection, change, there.id, accounts.clock())
    output.give({"tenant": tenant, "quotas": own})
    output.show(quotas_table(own))
    return Exit.MET


@click.command()
@click.option("--tenant", type=TENANT, help="Only entries of this tenant.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@home_option
@command
def audit(output: Output, tenant: str | None, limit: int, home: Path) -> Exit:
    """Show who changed what and who was refused, the newest first; of nobody known, too."""
    with accounts_of(home) as accounts:
        names = accounts.store.tenant_names()
        records = AuditLog(accounts.store.database, accounts.clock).latest(
            limit, _ids_of(names, tenant)
        )
    found = [as_json(record, names) for record in records]
    output.give({"items": found})
    output.show(audit_table(found) if found else "Nothing was written down.")
    return Exit.MET


def change_of(text: str) -> tuple[str, Any]:
    """A quota's name and value; null = no quota. Raises: Malformed."""
    name, sign, value = text.partition("=")
    if not sign or name not in Quotas.model_fields:
        raise Malformed(f"{text!r} is no quota; write NAME=VALUE, NAME one of {NAMES}")
    if value == DEFAULT:
        return name, DEFAULT
    try:
        number = None if value == ANY else _number(name, value)
        return name, getattr(Quotas.model_validate({name: number}), name)
    except (ValueError, ValidationError) as error:
        raise Malformed(
            f"{value!r} is no value of {name}; write it like 500, 10GiB, 100h, {ANY} or {DEFAULT}"
        ) from error


def as_json(record: AuditRecord, names: dict[str, str]) -> dict[str, Any]:
    entry = vars(record.entry)
    tenant = names.get(record.entry.tenant_id or "", record.entry.tenant_id)
    return {"id": record.id, "at": record.at.isoformat(), "tenant": tenant, **entry}


def audit_table(found: list[dict[str, Any]]) -> Table:
    columns = ("tenant", "key_id", "action", "object_id", "status", "address")
    table = Table()
    table.add_column("at (UTC)", no_wrap=True)
    for column in columns:
        table.add_column(column.removesuffix("_id"), overflow="fold")
    for entry in found:
        at = datetime.fromisoformat(entry["at"]).astimezone(UTC)
        told = (printable(str(entry[column] or "-"))[:40] for column in columns)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", *told)
    return table


def quotas_table(own: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("quota")
    table.add_column("agreed")
    for name in Quotas.model_fields:
        agreed = _in_words(name, own[name]) if name in own else "as the settings say"
        table.add_row(name, agreed)
    return table


def _in_words(name: str, value: float | None) -> str:
    """As it would be given; bytes beside it as people read them."""
    if value is None:
        return ANY
    if name.endswith("_bytes"):
        return f"{value:.0f} ({bytes_text(int(value))})"
    if name != "run_s":
        return f"{value:g}"
    return f"{value / 3600:.0f}h" if value and value % 3600 == 0 else f"{value:g}s"


def _number(name: str, text: str) -> float:
    """Raises: ValueError, for other digits than 0 to 9, too, and for Python's own 1_000."""
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text} is no number")
    if name.endswith("_bytes"):
        return size_bytes(text)
    if name == "run_s" and text[-1:] in ("d", "h", "m"):
        return lifetime(text).total_seconds()
    return float(text.removesuffix("s") if name == "run_s" else text)


def _ids_of(names: dict[str, str], tenant: str | None) -> list[str] | None:
    """Raises: NotFound."""
    if tenant is None:
        return None
    found = [tenant_id for tenant_id, name in names.items() if name == tenant]
    if not found:
        raise NotFound(f"there is no tenant {tenant!r}", hint="`penjing keys list` shows them.")
    return found
