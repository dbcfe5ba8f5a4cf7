"""JSON bodies as they are read: each name once in its object, few values, and few mistakes."""

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

# Two steps with a weight for each of 10,000 classes have fewer. pydantic looks at every value that
# is wrong, however few a list may have, and it takes ten times as long to say what is wrong.
MOST_VALUES = 20_480
MOST_MISTAKES = 1_000


class JsonRoute(APIRoute):
    """A route that takes a body: `tests/app/api/test_request_bounds.py` refuses another."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


def _told_apart(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(given)
    except ValidationError as error:
        if error.error_count() <= MOST_MISTAKES:
            raise
        message = "has {count} mistakes, which are too many to be told apart; {most} are not"
        facts = {"count": error.error_count(), "most": MOST_MISTAKES}
        raise PydanticCustomError("too_many_mistakes", message, facts) from None


# What every body of a handler is annotated with, beside its model.
Told = WrapValidator(_told_apart)


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Raises: HTTPException, because FastAPI hides every other one; JSONDecodeError."""
        found = json.loads(await self.body(), object_pairs_hook=_with_names_once)
        _require_few_values(found)
        return found


def _with_names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; of two members of one name, readers disagree which counts (RFC 8259, 4)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise HTTPException(400, f"an object of the body has the name {twice[:80]!r} twice")
    return members


def _require_few_values(found: Any) -> None:
    """Items of lists and members of objects, all together."""
    count, unread = 0, [found]
    while unread:
        value = unread.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count > MOST_VALUES:
                raise HTTPException(413, f"the body may hold {MOST_VALUES} values at most")
            unread.extend(value.values() if isinstance(value, dict) else value)
