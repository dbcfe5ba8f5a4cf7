"""API keys: how one is made, what is kept of it, how one that is given is compared."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.accounts.principal import Principal, Scope
from app.errors import PenjingError

MARK = "pj_"
PREFIX_BYTES = 6
SECRET_BYTES = 32
KEY = re.compile(
    rf"{MARK}([0-9a-f]{{{2 * PREFIX_BYTES}}})_[0-9a-f]{{{2 * SECRET_BYTES}}}", re.ASCII
)
# What a key that is not there is compared with, so that it takes as long as one that is.
NOBODYS_DIGEST = hashlib.sha256(secrets.token_bytes(SECRET_BYTES)).hexdigest()


class Unauthenticated(PenjingError):
    code = "unauthenticated"
    title = "Who asks is not known"


class SpentKey(Unauthenticated):
    """A whole key of ours that was revoked or has expired: its tenant is told that it is used."""

    def __init__(self, key: "ApiKey", state: "KeyState") -> None:
        super().__init__(
            f"the key {key.id} is {state}", hint="Ask an admin of your tenant for a new one."
        )
        self.principal = Principal(key.tenant_id, key.id, key.scopes)


def no_longer_good() -> Unauthenticated:
    return Unauthenticated(
        "the key was revoked, or has expired, while the request was under way",
        hint="Nothing was done. Ask an admin of your tenant for a new key.",
    )


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: by its digest, never by its text.

    Args:
        made_by: the key that made it, and with which it is revoked; null for the operator's.
    """

    id: str
    tenant_id: str
    name: str
    prefix: str
    digest: str = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    made_by: str | None

    def state(self, now: datetime) -> KeyState:
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


def new_text() -> str:
    """A new key as its owner gets it: `pj_<prefix>_<secret>`, the secret of 256 random bits."""
    return f"{MARK}{secrets.token_hex(PREFIX_BYTES)}_{secrets.token_hex(SECRET_BYTES)}"


def prefix_of(text: str) -> str:
    """What the key is looked up by; empty, which no key has, where it is no key of ours."""
    found = KEY.fullmatch(text)
    return found[1] if found else ""


def digest_of(text: str) -> str:
    # A fast hash: 256 random bits cannot be guessed, and a slow one would let strangers burn CPU.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_text_of(digest: str, text: str) -> bool:
    """Compared in a time that says nothing of where they differ."""
    return hmac.compare_digest(digest, digest_of(text))
