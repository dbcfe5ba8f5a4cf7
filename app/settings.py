"""Settings of every process, read once from the environment (prefix `PENJING_`)."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sqlalchemy.engine import URL

from app.errors import Malformed

PREFIX = "PENJING_"
# The part of a URL's scheme before any `+driver`.
DATABASES = ("sqlite", "postgresql", "postgres")
# Clocks that count microseconds have no finer rates.
MOST_A_MINUTE = 1_000_000
# Active ones that a tenant makes for itself: more would only be a way around what one may.
MOST_KEYS = 100
BROKERS = ("redis", "rediss", "sentinel")


class Settings(BaseModel):
    """One frozen value object; a field `lease_s` is read from `PENJING_LEASE_S`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(Path(".penjing"), description="The one folder that holds all state.")
    database_url: str = Field("", description="SQLAlchemy URL; empty = SQLite inside `home`.")
    broker_url: str = Field("", description="Celery broker URL; empty = unix socket in `home`.")
    blobs: Path | None = Field(None, description="Folder of the blob store; null = inside `home`.")

    allowed_hosts: frozenset[str] = Field(
        frozenset(),
        description="Names, by commas, that the service has beside localhost where it asks for "
        "no keys; an IP address is always right.",
    )
    require_keys: bool | None = Field(
        None,
        description="Whether requests need an API key; null = those that did not arrive on a "
        "loopback address or a unix socket, or came through a proxy.",
    )
    max_upload_bytes: int = Field(8 * 2**30, gt=0)
    inspection_wait_s: float = Field(
        10, ge=0, description="How long an upload's answer waits for its inspection."
    )
    inspection_limit_s: float = Field(
        20, gt=0, description="Wall clock of one inspection; a second more for each 32 MiB."
    )
    inspection_memory_bytes: int = Field(2**30, gt=0)
    allow_unconfined: bool = Field(
        False,
        description="Go on where files that strangers sent cannot be confined on this machine.",
    )
    inspect_uploads: bool = Field(
        True,
        description="0 lets in what was not inspected: only to prove that jobs are confined.",
    )

    quota_storage_bytes: int | None = Field(
        None,
        ge=0,
        description="Uploads, artifacts and rows of one tenant; null = as the disk allows.",
    )
    quota_upload_bytes: int | None = Field(
        None, ge=0, description="Largest upload of one tenant; null = max_upload_bytes."
    )
    quota_jobs_queued: int | None = Field(
        None, ge=0, description="Jobs that one tenant may have waiting; null = any number."
    )
    quota_jobs_running: int | None = Field(
        None, ge=0, description="Jobs of one tenant that run at a time; null = any number."
    )
    quota_run_s: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that one tenant's jobs run a month (UTC); null = any.",
    )
    rate_limit_requests: int = Field(
        600, ge=0, le=MOST_A_MINUTE, description="Requests of one key a minute; 0 = any number."
    )
    rate_limit_uploads: int = Field(
        60, ge=0, le=MOST_A_MINUTE, description="Uploads of one key a minute; 0 = any number."
    )
    rate_limit_tenant_keys: int = Field(
        5,
        ge=0,
        le=MOST_KEYS,
        description="All keys of a tenant together may ask as often as so many; 0 = any number.",
    )
    rate_limit_refused_keys: int = Field(
        20,
        ge=0,
        le=MOST_A_MINUTE,
        description="Wrong keys, and as many refused pages, from one address a minute; "
        "0 = any number.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description="Addresses and networks, by commas, whose X-Forwarded-For is believed.",
    )
    audit_days: int = Field(365, ge=1, description="How long the audit log is kept.")

    worker_concurrency: int = Field(1, ge=1, description="Jobs one worker runs at a time.")
    lease_s: float = Field(15, gt=0, description="A job whose lease is older is up for grabs.")
    heartbeat_s: float = Field(2, gt=0, description="How often a worker renews its lease.")
    poll_s: float = Field(0.25, gt=0, description="How often cancel flags and children are read.")
    reap_s: float = Field(5, gt=0, description="How often lost and unheard jobs are looked for.")
    resend_s: float = Field(20, gt=0, description="A queued job's message is sent again after.")
    max_attempts: int = Field(3, ge=1)
    shutdown_grace_s: float = Field(
        20, ge=0, description="After SIGTERM: finish within this time, else hand the job back."
    )
    cancel_grace_s: float = Field(1, ge=0, description="A cancelled child may tidy up this long.")
    job_memory_bytes: int = Field(
        8 * 2**30,
        gt=0,
        description="RLIMIT_DATA of a job's process, and resident memory of its whole session.",
    )
    job_file_bytes: int = Field(16 * 2**30, gt=0, description="Largest file a job may write.")
    job_tasks: int = Field(
        1024,
        gt=0,
        description="Processes and threads a job may have at a time, all together; processes 64 at "
        "most.",
    )
    job_disk_bytes: int = Field(
        32 * 2**30, gt=0, description="What a job may hold on disk at a time, its inputs apart."
    )
    job_files: int = Field(20_000, gt=0, description="Files and folders a job may hold at a time.")
    job_output_bytes: int = Field(
        8 * 2**30,
        gt=0,
        description="Size of a job's artifacts, all together; never more than `job_disk_bytes`.",
    )
    disk_reserve_bytes: int = Field(
        2**30,
        ge=0,
        description="Kept free on the disks of `home` and blobs: below it, uploads are refused, no "
        "artifact is kept and the job that holds most is ended.",
    )
    warm_spare: bool = Field(
        True, description="Keep a child ready for each concurrent job, with TensorFlow imported."
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _are_names(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return {name.strip().lower() for name in given.split(",") if name.strip()}

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _are_networks(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return tuple(part.strip() for part in given.split(",") if part.strip())

    @field_validator("database_url")
    @classmethod
    def _is_a_known_database(cls, url: str) -> str:
        return _with_scheme(url, DATABASES)

    @field_validator("broker_url")
    @classmethod
    def _is_a_known_broker(cls, url: str) -> str:
        return _with_scheme(url, BROKERS)

    @model_validator(mode="after")
    def _renews_before_the_lease_ends(self) -> Self:
        if self.heartbeat_s >= self.lease_s:
            raise ValueError(
                f"heartbeat_s = {self.heartbeat_s:g} must be less than lease_s = {self.lease_s:g}: "
                "a lease that is renewed too late is lost while its worker lives. "
                "Set PENJING_HEARTBEAT_S to a third of PENJING_LEASE_S or less."
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises: Malformed, naming the variables, what was given and what is allowed."""
        known = {
            name: environment[key]
            for name in cls.model_fields
            if (key := PREFIX + name.upper()) in environment
        }
        try:
            settings = cls.model_validate(known)
        except ValidationError as error:
            # `from None`: pydantic's own words repeat every input, passwords in URLs, too.
            raise Malformed(
                "; ".join(_in_words(finding) for finding in error.errors()),
                hint="Set these environment variables anew, or unset them for their defaults.",
            ) from None
        return settings.model_copy(update={"home": settings.home.absolute()})

    @property
    def resolved_database_url(self) -> str:
        inside = URL.create("sqlite", database=str(self.home / "penjing.db"))
        return self.database_url or inside.render_as_string()

    @property
    def resolved_blobs(self) -> Path:
        return self.blobs or self.home / "blobs"

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or socket_url(self.home / "run" / "broker.sock")


def socket_url(path: Path) -> str:
    """A unix socket as Celery takes it; `?`, `#` and `%` of the path are no part of the syntax."""
    return f"redis+socket://{quote(str(path))}"


def _with_scheme(url: str, allowed: tuple[str, ...]) -> str:
    scheme, separator, _ = url.partition("://")
    if url and not (separator and scheme.split("+")[0] in allowed):
        given = f"the scheme {scheme!r}" if separator else "no scheme"
        raise ValueError(f"the URL has {given}; allowed: {', '.join(allowed)}")
    return url


def _in_words(finding: Any) -> str:
    """One item of `ValidationError.errors()`, under the name that was set."""
    message = str(finding["msg"]).removeprefix("Value error, ")
    if not finding["loc"]:
        return message
    variable = PREFIX + str(finding["loc"][0]).upper()
    if finding["type"] == "value_error":
        return f"{variable}: {message}"
    return f"{variable} is {finding['input']!r}: {message[:1].lower()}{message[1:]}"
