"""Logs: whatever is logged, a line stays one line, says only what it was given, and no secret."""

import json
import logging
import sys
from typing import Any

import pytest

from app.logs import MOST_LINE_CHARS, MOST_VALUE_CHARS, JsonFormatter, configure_logging

CONTROL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BIDI = [
    chr(code) for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
]
BREAKS = ["\u2028", "\u2029", "\u0085", "\ufeff"]
SURROGATES = ["\ud800", "\udfff", "\udc0a"]
HOSTILE = [*CONTROL, *BIDI, *BREAKS, *SURROGATES]


def raw_line(event: str = "job.ended", /, *args: object, **extra: Any) -> str:
    record = logging.LogRecord("penjing", logging.INFO, "", 0, event, args, None)
    record.__dict__.update(extra)
    return JsonFormatter().format(record)


def line(event: str = "job.ended", /, *args: object, **extra: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(raw_line(event, *args, **extra))
    return read


@pytest.mark.parametrize("letter", HOSTILE, ids=lambda letter: f"U+{ord(letter):04X}")
def test_letter_that_could_break_a_line_comes_out_escaped(letter: str) -> None:
    text = raw_line(f"a{letter}b", label=f"c{letter}d", **{f"key{letter}": [{letter: letter}]})
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["label"] == f"c{letter}d"


def test_value_forges_no_field() -> None:
    read = line(label='x", "event": "key.created", "y": "', level="critical", event="forged")
    assert (read["event"], read["level"]) == ("job.ended", "info")
    assert read["label"].startswith('x", "event"')


def test_value_forges_no_line() -> None:
    assert len(raw_line(label='x"}\n{"event": "forged"}\r\n').splitlines()) == 1


@pytest.mark.parametrize("letter", ["a", "\x00", "é", "\U0001f333", '"'])
def test_long_value_loses_its_middle(letter: str) -> None:
    text = raw_line(tail="first" + letter * 300_000 + "last", after=1)
    assert len(text) < MOST_VALUE_CHARS + 300
    assert json.loads(text)["tail"].startswith("first")
    assert json.loads(text)["tail"].endswith("last")
    assert "characters left out" in json.loads(text)["tail"]
    assert json.loads(text)["after"] == 1


def test_line_of_many_values_says_how_many_it_has_no_room_for() -> None:
    text = raw_line(**{f"key{number}": "x" * 4000 for number in range(10)}, last=1)
    assert len(text) <= MOST_LINE_CHARS
    assert json.loads(text)["left_out"] == 6
    assert json.loads(text)["last"] == 1


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("postgresql+psycopg://penjing:hunter2@db:5432/x", "postgresql+psycopg://***@db:5432/x"),
        ("redis://:hunter2@cache/0", "redis://***@cache/0"),
        ("redis://u:hun%40ter2@ter2@cache/0", "redis://***@cache/0"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic hunter2'}", "{'authorization': 'Basic ***'}"),
        ("/v1/jobs/pj_0123456789ab_hunter2", "/v1/jobs/pj_***"),
        ("/v1/jobs/mdl_pj_0123456789ab_hunter2", "/v1/jobs/mdl_pj_***"),
        ("/v1/jobs/xPJ_0123456789AB_hunter2", "/v1/jobs/xpj_***"),
    ],
)
def test_secret_is_taken_out_wherever_it_stands(secret: str, told: str) -> None:
    text = raw_line(secret, why=ValueError(secret), nested={"a": [secret]}, **{secret: 1})
    assert "hunter2" not in text
    assert "ter2" not in text
    assert json.loads(text)["event"] == told
    assert json.loads(text)["nested"] == {"a": [told]}


def test_secret_is_taken_out_of_a_traceback() -> None:
    try:
        raise ValueError("cannot reach redis://:hunter2@cache/0")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "job.fault", (), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "ValueError: cannot reach redis://***@cache/0" in json.loads(text)["traceback"]


def test_access_line_leaves_the_query_out() -> None:
    record = logging.LogRecord(
        "uvicorn.access",
        logging.INFO,
        "",
        0,
        '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:1", "GET", "/v1/jobs?key=hunter2", "1.1", 200),
        None,
    )
    read = json.loads(JsonFormatter().format(record))
    assert read["event"] == '127.0.0.1:1 - "GET /v1/jobs HTTP/1.1" 200'


def test_line_holds_what_json_does_not() -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]

    class Untold:
        def __str__(self) -> str:
            raise RuntimeError

    read = line(nan=float("nan"), pair={(1, 2): {3}}, untold=Untold(), raw=b"\xff")
    assert read["nan"] == "nan"
    assert read["pair"] == {"(1, 2)": [3]}
    assert read["untold"] == "<Untold: RuntimeError>"
    assert read["raw"] == "b'\\xff'"
    assert line(deep=deep)["deep"]


def test_message_whose_arguments_do_not_fit_is_told_all_the_same() -> None:
    assert line("%d of %d", "x")["event"] == "%d of %d"


def test_lines_of_libraries_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging()
        logging.getLogger("celery.worker").warning("lost\n%s", "redis://:hunter2@cache/0")
        logging.getLogger("uvicorn.error").error("odd \x1b[31m request")
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level = before
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [one["event"] for one in lines] == [
        "lost\nredis://***@cache/0",
        "odd \x1b[31m request",
    ]
