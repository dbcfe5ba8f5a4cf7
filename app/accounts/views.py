"""Accounts as they are shown: what the API answers and the client reads."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.keys import KeyState
from app.accounts.principal import Scope


class View(BaseModel):
    """Outputs have no defaults: every field is always present, null if unknown."""

    model_config = ConfigDict(frozen=True)


class TenantView(View):
    """Who owns what is uploaded and made."""

    id: str
    name: str


class KeyView(View):
    """A key, but for its text, which nobody can read again."""

    id: str
    name: str
    prefix: str = Field(description="How its text begins: enough to tell keys apart, no secret.")
    scopes: list[Scope]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None = Field(description="Null = it is good until it is revoked.")
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    made_by: str | None = Field(
        description="The key that made it, and with which it is revoked; null for the operator's."
    )


class NewKeyView(KeyView):
    """A key that was just made."""

    key: str = Field(description="The key itself, shown this once. Send it as a Bearer token.")


class MeView(View):
    """Who asks, and what they may do."""

    tenant: TenantView
    key: KeyView | None = Field(description="Null where no key was asked for.")
    scopes: list[Scope] = Field(description="Everything that is allowed, what is included, too.")
