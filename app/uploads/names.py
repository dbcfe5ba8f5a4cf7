"""What a client calls its file: text to show, never a path."""

import re
import unicodedata

from app.errors import Invalid

MAX_LENGTH = 200
# Control, format (bidirectional overrides among them), surrogate, private, line and paragraph.
UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Drawn as nothing, though no space: fillers of Hangul and Khmer, the blank of Braille, a joiner.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def display_name(given: str) -> str:
    """The last part of what was given, without characters that cannot be shown.

    Raises: Invalid where nothing is left, or where the name holds a NUL.
    """
    if "\x00" in given:
        raise Invalid("the file name holds a NUL character", hint="Give a plain file name.")
    last = re.split(r"[/\\]", given)[-1]
    composed = unicodedata.normalize("NFC", last.encode("utf-8", "ignore").decode())
    shown = "".join(c for c in composed if not _is_unshowable(c)).strip()
    if shown in ("", ".", "..") or all(unicodedata.category(c)[0] in "MZ" for c in shown):
        raise Invalid(
            f"{given[:MAX_LENGTH]!r} is no file name",
            hint="Give the upload a name with ?name=, for example ?name=lenet5.keras.",
        )
    return _shortened(shown)


def is_showable(text: str) -> bool:
    """Whether it can be shown as it is: no control or direction characters, no markup."""
    return not any(_is_unshowable(c) or c in "<>&\"'" for c in text)


def showable(text: str) -> str:
    """The same, with a mark in place of every character that cannot be shown."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unshowable(c) else c for c in text)


def with_ending(name: str, ending: str) -> str:
    """Still no longer than a name may be."""
    return name[: MAX_LENGTH - len(ending)] + ending


def suffix(name: str) -> str:
    """The ending of a name in lower case with its dot; empty where there is none."""
    match = re.search(r"\.[A-Za-z0-9]{1,12}$", name)
    return match[0].lower() if match else ""


def _is_unshowable(character: str) -> bool:
    return unicodedata.category(character) in UNSHOWABLE or character in INVISIBLE


def _shortened(name: str) -> str:
    """At most `MAX_LENGTH` characters, the ending kept."""
    ending = suffix(name)
    return name if len(name) <= MAX_LENGTH else with_ending(name, ending)
