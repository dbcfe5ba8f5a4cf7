"""Logs: one JSON object a line, with whatever the caller gave as `extra`."""

import json
import logging
import sys
from datetime import UTC, datetime

# `color_message` is uvicorn's own second copy of a message.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", "color_message"),
}


class JsonFormatter(logging.Formatter):
    """Names an event, its time, its level and its facts; control characters come out escaped."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: int = logging.INFO) -> None:
    """Send everything of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Says every task twice; the job's own events say more.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    _take_over("uvicorn", "uvicorn.access")


def _take_over(*names: str) -> None:
    """Loggers that their library gave handlers of their own write where all others do."""
    for logger in map(logging.getLogger, names):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
