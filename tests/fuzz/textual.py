"""Mutations of JSON, tables and array headers that leave them readable, mostly."""

import copy
import json
import re
import struct
from random import Random
from typing import Any

from tests.fuzz import plain
from tests.fuzz.tokens import NUMBERS, TYPES, VALUES

DEEP = 3000


def mutated_json(content: bytes, other: bytes, random: Random) -> bytes:
    """One value of a document is another, gone, doubled, or moved."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return plain.mutated(content, other, random)
    for _ in range(random.choice((1, 1, 2, 5))):
        holders = list(_holders(document))
        if not holders:
            document = copy.deepcopy(random.choice(VALUES))
            break
        _change(random.choice(holders), holders, random)
    if random.random() < 0.01:
        depth = random.choice((10, DEEP))
        return b'{"config": {"layers": [' * depth + content + b"]}}" * depth
    return json.dumps(document).encode("utf-8", "surrogatepass")


def mutated_table(content: bytes, other: bytes, random: Random) -> bytes:
    """A cell, a row or the separator of a CSV file changes."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    cells = lines[at].split(b",")
    cell = random.randrange(len(cells))
    match random.randrange(8):
        case 0:
            cells[cell] = str(random.choice(NUMBERS)).encode()
        case 1:
            cells[cell] = plain.put_word(cells[cell], other, random)
        case 2:
            cells.insert(cell, cells[cell])
        case 3:
            del cells[cell]
        case 4:
            cells[cell] = b'"' + cells[cell] + random.choice((b'"', b'""', b"", b'",'))
        case 5:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 6:
            del lines[at]
            return b"\n".join(lines)
        case _:
            return plain.mutated(content, other, random)
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def mutated_array(content: bytes, other: bytes, random: Random) -> bytes:
    """The header of an `.npy` file declares something else, its length right, mostly."""
    if len(content) < 12 or not content.startswith(b"\x93NUMPY"):
        return plain.mutated(content, other, random)
    length = struct.unpack_from("<H", content, 8)[0]
    header = content[10 : 10 + length].decode("latin-1")
    match random.randrange(6):
        case 0:
            header = re.sub(r"'descr': '[^']*'", f"'descr': '{random.choice(TYPES)}'", header)
        case 1:
            value = random.choice(NUMBERS)
            header = re.sub(r"\d+(?=[,)])", str(value), header, count=random.choice((1, 0)))
        case 2:
            flipped = {"True": "False", "False": "True"}
            header = re.sub("True|False", lambda found: flipped[found[0]], header)
        case 3:
            header = plain.mutated(header.encode("latin-1"), other, random).decode("latin-1")
        case 4:
            header = header.strip() + " " * random.randrange(200)
        case _:
            return (
                content[:10]
                + header.encode("latin-1")
                + plain.mutated(content[10 + length :], other, random)
            )
    text = header.encode("latin-1")[:65_535]
    said = len(text) if random.random() < 0.9 else random.randrange(65_536)
    return content[:8] + struct.pack("<H", said) + text + content[10 + length :]


def _holders(value: Any) -> Any:
    """Every place where a value stands: what holds it, and its key or index."""
    pending = [value] if isinstance(value, dict | list) else []
    while pending:
        here = pending.pop()
        keys = here.keys() if isinstance(here, dict) else range(len(here))
        for key in list(keys):
            yield here, key
            if isinstance(here[key], dict | list):
                pending.append(here[key])


def _change(place: tuple[Any, Any], places: list[tuple[Any, Any]], random: Random) -> None:
    holder, key = place
    if (isinstance(holder, dict) and key not in holder) or (
        isinstance(holder, list) and key >= len(holder)
    ):
        return
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 1 | 2:
            source, name = random.choice(places)
            is_there = name in source if isinstance(source, dict) else name < len(source)
            holder[key] = copy.deepcopy(source[name]) if is_there else None
        case 3:
            holder[key] = [holder[key]]
        case 4 if isinstance(holder[key], str):
            text = holder[key].encode("utf-8", "replace")
            holder[key] = plain.mutated(text, b"text", random).decode("latin-1")
        case 5 if isinstance(holder[key], int | float):
            holder[key] = random.choice(NUMBERS)
        case _:
            holder[key] = copy.deepcopy(random.choice(VALUES))
