"""Walks through a Keras config: every dict and list in it, and where it stands."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from app.errors import RejectedUpload
from app.uploads.inspector.shown import MAX_SHOWN

# A model inside a model is three deep; what a layer was called with is about ten.
MAX_DEPTH = 100
MAX_POINTER = 200
HOLDING = (dict, list)


class Spot(NamedTuple):
    """A dict or list of a config, the key or index it has in the one around it, and that one."""

    value: Any
    key: str | int
    above: Optional["Spot"]
    depth: int

    @property
    def pointer(self) -> str:
        """A JSON pointer (RFC 6901) into the config, its beginning left out where it is long."""
        keys: list[str] = []
        spot: Spot | None = self
        while spot is not None and spot.above is not None:
            keys.append(str(spot.key)[:MAX_SHOWN].replace("~", "~0").replace("/", "~1"))
            spot = spot.above
        whole = "/" + "/".join(reversed(keys))
        # Keys are the file's own words: escaped, as in any text that is shown.
        text = whole.encode("unicode_escape").decode()
        return text if len(text) <= MAX_POINTER else f"...{text[-MAX_POINTER:]}"

    def is_below(self, key: str) -> bool:
        """Whether it, or anything around it, is called so."""
        spot: Spot | None = self
        while spot is not None:
            if spot.key == key:
                return True
            spot = spot.above
        return False


def spots(config: Any) -> Iterator[Spot]:
    """Every dict and list, those outside before those inside, in the order of the file.

    Raises: RejectedUpload where they stand too deep.
    """
    pending = [Spot(config, "", None, 0)] if isinstance(config, HOLDING) else []
    while pending:
        spot = pending.pop()
        if spot.depth > MAX_DEPTH:
            raise refused(
                spot,
                f"the configuration is nested more than {MAX_DEPTH} deep",
                "Put fewer models and wrappers inside each other.",
            )
        yield spot
        value, below = spot.value, spot.depth + 1
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inside = [Spot(one, key, spot, below) for key, one in items if isinstance(one, HOLDING)]
        pending.extend(reversed(inside))


def refused(spot: Spot, detail: str, hint: str | None = None) -> RejectedUpload:
    """The refusal of what stands there."""
    return RejectedUpload(f"{detail} (at {spot.pointer})", hint=hint)
