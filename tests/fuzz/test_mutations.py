"""Mutations leave whole what lies around them, so that readers get as far as what is changed."""

import struct
from random import Random

import pytest

from app.datafiles.thrift import Reader
from app.errors import RejectedUpload
from app.uploads.inspector.saved_model.table import read_table
from tests.app.uploads.inspector.saved_models import members_of
from tests.fuzz import tables
from tests.fuzz.parquet import END_BYTES, mutated_parquet, split
from tests.fuzz.protobuf import fields_of, mutated_protobuf
from tests.fuzz.seeds import seeds
from tests.fuzz.thrift import mutated_thrift, read_struct, written

INDEX = members_of("dense_saved")["variables/variables.index"]
TABLES = [seed.content for seed in seeds()["parquet"] if seed.is_honest]
TIMES = 100


def footer_of(content: bytes) -> bytes:
    length = struct.unpack_from("<L", content, len(content) - END_BYTES)[0]
    return content[-END_BYTES - length : -END_BYTES]


def is_struct(content: bytes) -> bool:
    try:
        Reader(content, 10**6).struct()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("content", TABLES, ids=lambda content: f"{len(content)} bytes")
def test_structure_is_the_same_when_it_is_written_again(content: bytes) -> None:
    footer = footer_of(content)
    again = written(read_struct(footer, 0)[0])
    assert Reader(again, 10**6).struct() == Reader(footer, 10**6).struct()


def test_footer_stays_a_structure_mostly() -> None:
    random, footer = Random(1), footer_of(TABLES[0])
    changed = [mutated_thrift(footer, random) for _ in range(TIMES)]
    assert sum(map(is_struct, changed)) > TIMES * 0.7
    assert len({*changed}) > TIMES * 0.7


def test_pages_of_a_table_are_found_to_its_footer() -> None:
    for content in TABLES:
        pages = content[4 : -END_BYTES - len(footer_of(content))]
        assert [end for *_, end in split(pages)][-1] == len(pages)


def test_table_keeps_its_ends_mostly() -> None:
    random = Random(2)
    changed = [mutated_parquet(TABLES[0], TABLES[1], random) for _ in range(TIMES)]
    ends = sum(each[:4] == each[-4:] == b"PAR1" for each in changed)
    assert ends > TIMES * 0.8


def test_index_has_right_checksums_mostly() -> None:
    random = Random(3)
    read = 0
    for _ in range(TIMES):
        try:
            read += read_table(tables.mutated_index(INDEX, INDEX, random)) != read_table(INDEX)
        except RejectedUpload:
            continue
    assert read > TIMES * 0.6


def test_message_stays_a_message_mostly_and_is_changed_deep_inside() -> None:
    random, message = Random(4), members_of("dense_saved")["saved_model.pb"]
    changed = [mutated_protobuf(message, message, random) for _ in range(TIMES)]
    assert sum(bool(fields_of(each)) for each in changed) > TIMES * 0.9
    graphs = {dict(each[::2] for each in fields_of(content)).get(2) for content in changed}
    assert len(graphs) > TIMES * 0.5
