"""What a client asks of a key: the body of `POST /v1/api-keys`."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.accounts.principal import Scope
from app.accounts.service import KeyWish
from app.whole_numbers import with_whole_numbers

MOST_LIFETIME_S = 10 * 366 * 24 * 3600


class KeyRequest(BaseModel):
    """A name for a person, what the key may do, how long it is good."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=200, description="What it is for, and who has it.")
    scopes: Annotated[
        tuple[Annotated[Scope, Field(strict=False)], ...],
        Field(
            min_length=1,
            max_length=len(Scope),
            strict=False,
            description="`read`: GET and HEAD. `submit`: uploads and jobs, too. "
            "`admin`: the tenant's keys, too.",
        ),
    ]
    expires_in_s: int | None = Field(
        None, gt=0, le=MOST_LIFETIME_S, description="Seconds; null = good until it is revoked."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_whole_numbers(cls, given: object) -> object:
        return with_whole_numbers(given)

    def as_wish(self) -> KeyWish:
        lifetime = None if self.expires_in_s is None else timedelta(seconds=self.expires_in_s)
        return KeyWish(self.name, frozenset(self.scopes), lifetime)
