"""What a client calls its file: text to show, never a path."""

import re
import unicodedata

from app.errors import Invalid

MAX_LENGTH = 200
# Control, format (bidirectional overrides among them), surrogate, private, line and paragraph.
UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display_name(given: str) -> str:
    """The last part of what was given, without characters that cannot be shown.

    Raises: Invalid where nothing is left, or where the name holds a NUL.
    """
    if "\x00" in given:
        raise Invalid("the file name holds a NUL character", hint="Give a plain file name.")
    last = re.split(r"[/\\]", given)[-1]
    composed = unicodedata.normalize("NFC", last.encode("utf-8", "ignore").decode())
    shown = "".join(c for c in composed if unicodedata.category(c) not in UNSHOWABLE).strip()
    if shown in ("", ".", ".."):
        raise Invalid(
            f"{given[:MAX_LENGTH]!r} is no file name",
            hint="Give the upload a name with ?name=, for example ?name=lenet5.keras.",
        )
    return _shortened(shown)


def is_showable(text: str) -> bool:
    """Whether it can be shown as it is: no control or direction characters, no markup."""
    return not any(unicodedata.category(c) in UNSHOWABLE or c in "<>&\"'" for c in text)


def suffix(name: str) -> str:
    """The ending of a name in lower case with its dot; empty where there is none."""
    match = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
    return match[0].lower() if match else ""


def _shortened(name: str) -> str:
    """At most `MAX_LENGTH` characters, the ending kept."""
    ending = suffix(name)
    return name if len(name) <= MAX_LENGTH else name[: MAX_LENGTH - len(ending)] + ending
