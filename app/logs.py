"""Logs: one JSON object a line, with whatever the caller gave as `extra`.

What is logged was often written by a stranger. ASCII alone leaves here, so nothing of it moves a
cursor or begins a line; secrets are taken out; a value and a line have a longest length.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

# `color_message` is uvicorn's own second copy of a message.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", "color_message"),
}
MOST_VALUE_CHARS = 4_096
MOST_LINE_CHARS = 16_384
MOST_DEPTH = 6
# Longer texts are cut before anything else is done with them.
MOST_RAW_CHARS = 65_536

# Who may log in at `scheme://who@host`, and what an Authorization header holds.
URL_USER = re.compile(r"://[^\s/]*@")
CREDENTIALS = re.compile(r"\b(bearer|basic)\s+[^\s\"',]+", re.IGNORECASE)
# A key of ours, or so much of one that it may be guessed which, whatever it was pasted behind.
API_KEY = re.compile(r"pj_[0-9a-f]{8,}[0-9a-z_\-]*", re.ASCII | re.IGNORECASE)


# Of the request that is answered here, for every line that is logged meanwhile.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """Names an event, its time, its level and its facts; control characters come out escaped."""

    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        if request_id := REQUEST_ID.get():
            own["request_id"] = request_id
        if record.exc_info:
            own["traceback"] = self.formatException(record.exc_info)
        given = {
            key: value
            for key, value in vars(record).items()
            if key not in STANDARD and key not in own
        }
        return line_of({**own, **given})


def line_of(facts: Mapping[str, object]) -> str:
    """A JSON object in at most `MOST_LINE_CHARS`; `left_out` counts the facts it has no room for.

    Of two facts with one name the later is left out, so that none can stand for another.
    """
    pairs: list[str] = []
    room = MOST_LINE_CHARS - len('{"left_out": 1000000}')
    left_out = 0
    for name, value in facts.items():
        pair = f"{_json_text(str(name), 256)}: {_json_text(value, MOST_VALUE_CHARS)}, "
        if len(pair) <= room:
            pairs.append(pair)
            room -= len(pair)
        else:
            left_out += 1
    if left_out:
        pairs.append(f'"left_out": {left_out}')
    return "{" + "".join(pairs).removesuffix(", ") + "}"


def without_secrets(text: str) -> str:
    """The text without passwords of URLs, credentials of HTTP and API keys."""
    text = URL_USER.sub("://***@", text)
    text = CREDENTIALS.sub(r"\1 ***", text)
    return without_keys(text)


def without_keys(text: str) -> str:
    return API_KEY.sub("pj_***", text)


def configure_logging(level: int = logging.INFO) -> None:
    """Send everything of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Says every task twice; the job's own events say more.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    _take_over("uvicorn", "uvicorn.access")


def _event(record: logging.LogRecord) -> str:
    args = record.args
    if record.name == "uvicorn.access" and isinstance(args, tuple) and len(args) > 2:
        # (client, method, path, version, status): what is asked for may name a key.
        record.args = (*args[:2], str(args[2]).partition("?")[0], *args[3:])
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)  # its arguments do not fit: better half a message than none


def _json_text(value: object, most_chars: int) -> str:
    """JSON in ASCII; where that is too long, that of a text from which the middle is cut."""
    plain = _plain(value, MOST_DEPTH)
    text = json.dumps(plain, allow_nan=False)
    if len(text) <= most_chars:
        return text
    whole = plain if isinstance(plain, str) else text
    kept = most_chars // 2
    while len(text := json.dumps(_shortened(whole, kept))) > most_chars:
        kept //= 2
    return text


def _plain(value: object, depth: int) -> object:
    """What JSON can hold of a value, without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth:
        return {_text(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_plain(item, depth - 1) for item in value]
    return _text(value)


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - a value that cannot be told ends no request
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return without_secrets(_shortened(text, MOST_RAW_CHARS))


def _shortened(text: str, kept: int) -> str:
    """Its first and last characters: of a traceback, what began it and what it came to."""
    if len(text) <= kept:
        return text
    head, tail = kept // 2, kept - kept // 2
    left_out = len(text) - kept
    return f"{text[:head]}[... {left_out} characters left out ...]{text[len(text) - tail :]}"


def _take_over(*names: str) -> None:
    """Loggers that their library gave handlers of their own write where all others do."""
    for logger in map(logging.getLogger, names):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
