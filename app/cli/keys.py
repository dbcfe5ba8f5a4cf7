"""`penjing keys ...`: who may use a service, written into its database, whether it runs or not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.audited_changes import AuditedChange
from app.accounts.keys import MARK, ApiKey
from app.accounts.principal import DEFAULT_TENANT_NAME, Scope
from app.accounts.service import AccountService, KeyWish
from app.accounts.store import AccountStore
from app.cli.frame import Exit, command, home_option
from app.cli.output import Output, printable
from app.cli.parameters import LABEL, LIFETIME, TENANT
from app.database.engine import Database
from app.database.failures import known_failure
from app.database.migrate import upgrade
from app.embedded.stack import open_home
from app.errors import NotFound
from app.settings import Settings

SCOPE = click.Choice([scope.value for scope in Scope], case_sensitive=False)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys, in the database of --home or PENJING_DATABASE_URL."""


@keys.command()
@click.option(
    "--tenant",
    default=DEFAULT_TENANT_NAME,
    show_default=True,
    type=TENANT,
    help="Whose key it is; a name that is new makes a new tenant.",
)
@click.option("--name", required=True, type=LABEL, help="What the key is for, and who has it.")
@click.option(
    "--scope",
    "scopes",
    type=SCOPE,
    multiple=True,
    required=True,
    help="read: look. submit: upload and run jobs, too. admin: make and revoke keys, too.",
)
@click.option("--expires", type=LIFETIME, help="Good for so long (90d, 12h); else until revoked.")
@home_option
@command
def create(
    output: Output,
    tenant: str,
    name: str,
    scopes: tuple[str, ...],
    expires: timedelta | None,
    home: Path,
) -> Exit:
    """Make a key and show it, this once."""
    with accounts_of(home) as accounts:
        owner = accounts.store.tenant_named(tenant)
        if owner is None:
            owner = accounts.store.add_tenant(tenant, accounts.clock())
            output.say(f"The tenant {tenant} is new.")
        wish = KeyWish(name, frozenset(map(Scope, scopes)), expires)
        key, text = accounts.issue(AuditedChange(owner.id, "api_key.create", 201), wish)
        output.give({**as_json(key, owner.name, accounts.clock()), "key": text})
    output.say(f"{key.id} of the tenant {owner.name}: {good_for(key)}. It is shown this once:")
    output.show(text)
    output.say(
        "Commands and the Python client send it from PENJING_API_KEY, other programs in the header "
        "'Authorization: Bearer KEY'."
    )
    return Exit.MET


@keys.command("list")
@click.option("--tenant", type=TENANT, help="Only keys of this tenant.")
@home_option
@command
def list_keys(output: Output, tenant: str | None, home: Path) -> Exit:
    """List keys, the newest first; expired and revoked ones, too."""
    with accounts_of(home) as accounts:
        names = accounts.store.tenant_names()
        found = [
            as_json(key, names[key.tenant_id], accounts.clock())
            for key in accounts.store.all_keys()
            if tenant in (None, names[key.tenant_id])
        ]
    output.give({"items": found})
    output.show(keys_table(found) if found else "No such keys.")
    return Exit.MET


@keys.command()
@click.argument("key", metavar="ID|PREFIX")
@home_option
@command
def revoke(output: Output, key: str, home: Path) -> Exit:
    """Revoke a key, and what it made, by its id (key_...) or beginning (pj_...), for good."""
    with accounts_of(home) as accounts:
        there = found_key(accounts, key)
        revoked = accounts.revoke(AuditedChange(there.tenant_id, "api_key.revoke", 204), there.id)
        owner = accounts.tenant(revoked.tenant_id)
        output.give(as_json(revoked, owner.name, accounts.clock()))
    output.show(f"{revoked.id} of the tenant {owner.name} is revoked.")
    return Exit.MET


@contextmanager
def accounts_of(home: Path) -> Iterator[AccountService]:
    """The accounts of a service, which may run meanwhile.

    Raises: Malformed for a setting that is wrong, StackNotStarted for a home that cannot be used,
        Unavailable where the database does not answer.
    """
    settings = Settings.from_environment({**os.environ, "PENJING_HOME": str(home)})
    if not settings.database_url:
        open_home(home)
    database = Database(settings.resolved_database_url)
    try:
        upgrade(database)
        yield AccountService(AccountStore(database), lambda: datetime.now(UTC))
    except SQLAlchemyError as error:
        # `from None`: drivers put addresses and passwords into their words.
        raise known_failure(error) from None
    finally:
        database.close()


def found_key(accounts: AccountService, given: str) -> ApiKey:
    """Raises: NotFound, which repeats no more of what was given than how it begins."""
    store = accounts.store
    begins_with = given.removeprefix(MARK).partition("_")[0]
    key = store.by_prefix(begins_with) if given.startswith(MARK) else store.by_id(given)
    if key is None:
        shown = f"{MARK}{begins_with}" if given.startswith(MARK) else given
        raise NotFound(f"there is no key {shown[:64]!r}", hint="`penjing keys list` shows them.")
    return key


def as_json(key: ApiKey, tenant: str, now: datetime) -> dict[str, Any]:
    """A key as the API shows it, and whose it is."""
    moments = {
        name: moment.isoformat() if (moment := getattr(key, name)) else None
        for name in ("created_at", "expires_at", "revoked_at", "last_used_at")
    }
    return {
        "id": key.id,
        "tenant": tenant,
        "name": key.name,
        "prefix": f"{MARK}{key.prefix}",
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "state": key.state(now).value,
        "made_by": key.made_by,
        **moments,
    }


def keys_table(found: list[dict[str, Any]]) -> Table:
    table = Table()
    for heading in ("id", "tenant", "name", "begins with", "scopes", "state", "expires", "used"):
        # What `penjing keys revoke` takes stays in one piece.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("id", "begins with"))
    for key in found:
        table.add_row(
            *(printable(key[field]) for field in ("id", "tenant", "name", "prefix")),
            ", ".join(key["scopes"]),
            key["state"],
            (key["expires_at"] or "never")[:10],
            (key["last_used_at"] or "never")[:16],
        )
    return table


def good_for(key: ApiKey) -> str:
    until = f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "it is revoked"
    return f"{', '.join(sorted(key.scopes))}; good until {until}"
