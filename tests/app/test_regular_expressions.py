"""No regular expression of ours takes long for a long text, whatever a client makes of it."""

import ast
import re
import string
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # their parts
from typing import Any

import pytest

from app.accounts import keys
from app.uploads.inspector import npy
from app.uploads.inspector.keras import words

ROOT = Path(__file__).parent.parent.parent
TEXTS = {
    path: path.read_text("utf-8")
    for folder in ("app", "worker")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
METHODS = ("match", "search", "fullmatch", "sub", "findall", "finditer", "split")
REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}
LETTERS = {_constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY}
CANDIDATES = "a0 _" + string.printable + "".join(map(chr, [*range(256), 0xDC80]))
LENGTH = 40_000
# Of processor time. What is linear takes a hundredth of it, what is quadratic some times as long.
LIMIT_S = 1.0
# Put together of others: looked at as they come out.
COMPOSED = {
    "keys.py": [keys.KEY],
    "npy.py": [npy.HEADER, re.compile(npy.TYPE), re.compile(npy.SIZE)],
    "words.py": [words.DTYPE],
    # Of the paths of this machine, of texts beside them, and of the names of initializers.
    "cleaning.py": [],
    "other_formats.py": [],
    "pairing.py": [],
}
# Reads the first 4 KiB of our own interpreter.
OF_NO_CLIENT = ("processes.py", "LOADER")
Items = Sequence[tuple[Any, Any]]


def calls() -> Iterator[tuple[Path, ast.Call, str, str]]:
    """Every call of `re`: where, by which function, and what its outcome is called."""
    functions = re.compile(rf"re\.(compile|{'|'.join(METHODS)})")
    for path, text in TEXTS.items():
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and (
                found := functions.fullmatch(ast.unparse(call.func))
            ):
                line = text.splitlines()[call.lineno - 1]
                yield path, call, found[1], line.partition(" = ")[0].strip()


def uses_of(name: str, path: Path) -> set[str]:
    """By which methods a pattern of this name is used in its module; if by none there, in any."""
    use = re.compile(rf"\b{re.escape(name)}\.({'|'.join(METHODS)})\b")
    anywhere = {method for text in TEXTS.values() for method in use.findall(text)}
    return set(use.findall(TEXTS[path])) or anywhere or {"search"}


def cases() -> Iterator[Any]:
    for path, call, function, name in calls():
        given: Any = call.args[0]
        if isinstance(given, ast.Constant) and (path.name, name) != OF_NO_CLIENT:
            flags = re.findall(r"\bre\.([A-Z]+)\b", " ".join(map(ast.unparse, call.args[1:])))
            pattern = re.compile(ast.literal_eval(given), sum(getattr(re, flag) for flag in flags))
            uses = uses_of(name, path) if function == "compile" else {function}
            yield pytest.param(pattern, uses, id=f"{path.stem}-{call.lineno}")
    for file, patterns in COMPOSED.items():
        yield from (pytest.param(pattern, {"fullmatch"}, id=file) for pattern in patterns)


def hostile_texts(items: Items, flags: int, begun: str = "") -> Iterator[str]:
    """What stands before each repetition, then far too much of it, then what does not belong."""
    for item in items:
        kind, what = item
        if kind in REPEATS:
            inner: Items = what[2]
            units = letters(item, flags) if len(inner) == 1 and inner[0][0] in LETTERS else []
            for unit in units or [example(inner, flags)]:
                yield begun + unit * (LENGTH if what[1] > 100 else what[1]) + "\0"
            yield from hostile_texts(inner, flags, begun)
        for branch in branches(item):
            yield from hostile_texts(branch, flags, begun)
        begun += example([item], flags)
    if begun:
        yield begun * (LENGTH // len(begun)) + "\0"


def branches(item: tuple[Any, Any]) -> list[Items]:
    kind, what = item
    if kind is _constants.SUBPATTERN:
        return [what[3]]
    return list(what[1]) if kind is _constants.BRANCH else []


def example(items: Items, flags: int) -> str:
    """A text, one of the shortest, that these parts of a pattern take."""
    text = ""
    for item in items:
        if item[0] in REPEATS:
            text += example(item[1][2], flags) * item[1][0]
        elif item[0] in LETTERS:
            text += letters(item, flags)[0]
        elif among := branches(item):
            text += min((example(branch, flags) for branch in among), key=len)
    return text


def letters(item: tuple[Any, Any], flags: int) -> list[str]:
    """A few different letters that one part of a pattern takes, or takes again and again."""
    one = item[1][2][0] if item[0] in REPEATS else item
    state = _parser.State()
    state.flags = flags
    alone = _compiler.compile(_parser.SubPattern(state, [one]), flags)
    return [letter for letter in CANDIDATES if alone.fullmatch(letter)][:4]


@pytest.mark.parametrize(("pattern", "uses"), list(cases()))
def test_long_text_takes_no_time(pattern: re.Pattern[Any], uses: set[str]) -> None:
    for text in hostile_texts(list(_parser.parse(pattern.pattern, pattern.flags)), pattern.flags):
        given = text if isinstance(pattern.pattern, str) else text.encode("latin-1")
        for use in uses:
            begun_at = time.process_time()
            getattr(pattern, use)(*(["", given] if use == "sub" else [given]))
            assert time.process_time() - begun_at < LIMIT_S, (use, text[:80])


def test_every_pattern_is_looked_at() -> None:
    composed = {
        path.name for path, call, *_ in calls() if not isinstance(call.args[0], ast.Constant)
    }
    assert composed == set(COMPOSED)


def test_pattern_that_takes_long_is_found() -> None:
    slow = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-")
    texts = hostile_texts(list(_parser.parse(slow.pattern, slow.flags)), slow.flags)
    assert f"bytes={' ' * LENGTH}\0" in [text.replace("\t", " ") for text in texts]
