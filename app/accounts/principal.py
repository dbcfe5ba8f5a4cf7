"""Who asks: a tenant, by one of its keys or without, and what it may do."""

from dataclasses import dataclass
from enum import StrEnum

# Owns everything while no keys are asked for, and everything from before there were tenants.
DEFAULT_TENANT = "ten_default"
DEFAULT_TENANT_NAME = "default"


class Scope(StrEnum):
    """What a key may do with the things of its tenant; each one includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    @property
    def included(self) -> frozenset["Scope"]:
        order = list(Scope)
        return frozenset(order[: order.index(self) + 1])


@dataclass(frozen=True)
class Principal:
    """`key_id` is null where no key was asked for; `scopes` are as they were granted."""

    tenant_id: str
    key_id: str | None
    scopes: frozenset[Scope]

    def may(self, needed: Scope) -> bool:
        return any(needed in scope.included for scope in self.scopes)


# Without keys everybody who gets through to the service may do everything.
ANYBODY = Principal(DEFAULT_TENANT, None, frozenset({Scope.ADMIN}))
