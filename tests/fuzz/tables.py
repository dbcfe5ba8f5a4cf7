"""Mutations of the index of a SavedModel's variables, its checksums right."""

import struct
from random import Random

from app.errors import RejectedUpload
from app.uploads.inspector.saved_model.table import read_table
from tests.app.uploads.inspector.saved_models import table
from tests.fuzz import plain
from tests.fuzz.protobuf import mutated_protobuf
from tests.fuzz.tokens import WORDS


def mutated_index(content: bytes, other: bytes, random: Random) -> bytes:
    """One entry of the table: gone, doubled under another key, or with a field of it changed."""
    try:
        entries = read_table(content)
    except (RejectedUpload, struct.error):
        entries = {}
    if not entries or random.random() < 0.1:
        return plain.mutated(content, other, random)
    key = random.choice(list(entries))
    match random.randrange(8):
        case 0:
            del entries[key]
        case 1:
            entries[f"{key}{random.choice(WORDS).decode('latin-1')}"] = entries[key]
        case 2:
            entries[key] = random.choice(list(entries.values()))
        case _:
            entries[key] = mutated_protobuf(entries[key], other, random)
    return table(entries)
