"""Damaged and hostile files: a clean error, in bounded time and memory."""

import json
import random
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from app.errors import PenjingError
from tests.builders import MODELS
from worker.engine.coding.architecture import hint_of_versions
from worker.engine.coding.container import Kind, opened, sealed
from worker.engine.coding.errors import NotPacked, PackedFileDamaged, PackedFileTooLarge
from worker.engine.coding.forms import Form
from worker.engine.coding.keras_archive import KerasArchive
from worker.engine.coding.matrices import Arrangement, code_numbers
from worker.engine.coding.packing import pack, write_text
from worker.engine.coding.stream import Field, Stream
from worker.engine.coding.tensors import read_tensor, write_tensor
from worker.engine.coding.unpacking import read_texts, unpack
from worker.engine.exporting.keras_file import write_keras
from worker.engine.progress import never_cancelled

SHAPES = ((3, 3, 2, 4), (4,), (36, 5), (5,))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    plain = tmp_path_factory.mktemp("packed") / "model.keras"
    write_keras(MODELS["dense"](), plain)
    return pack(plain, [], never_cancelled).content


def with_each_byte_flipped(content: bytes) -> Iterator[bytes]:
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        yield bytes(flipped)


def test_any_flipped_byte_is_noticed(packed: bytes, tmp_path: Path) -> None:
    for flipped in with_each_byte_flipped(packed):
        with pytest.raises((NotPacked, PackedFileDamaged)):
            unpack(flipped, tmp_path / "out.keras", never_cancelled)
    assert not list(tmp_path.iterdir())


def test_any_lost_end_is_noticed(packed: bytes, tmp_path: Path) -> None:
    for length in range(len(packed)):
        with pytest.raises((NotPacked, PackedFileDamaged)):
            unpack(packed[:length], tmp_path / "out.keras", never_cancelled)


@pytest.mark.parametrize("size", [0, 1, 5, 300])
def test_random_bytes_are_no_packed_file(size: int, tmp_path: Path) -> None:
    with pytest.raises(NotPacked, match="begins with"):
        unpack(random.Random(size).randbytes(size), tmp_path / "out.keras", never_cancelled)


def test_other_version_is_named(packed: bytes) -> None:
    earlier = packed[:3] + b"\x10" + packed[4:-4]
    with pytest.raises(PackedFileDamaged, match="checksum"):
        opened(earlier + packed[-4:])
    with pytest.raises(NotPacked, match=r"version 1 .* known are version 2"):
        opened(earlier + zlib.crc32(earlier).to_bytes(4, "little"))


@pytest.mark.parametrize("change", ["garbage behind", "zeros behind", "lost", "other"])
def test_code_that_is_not_the_one_of_the_model_is_noticed(
    change: str, packed: bytes, tmp_path: Path
) -> None:
    """The outer checksum is right in these."""
    kind, code, of_unpacked = opened(packed)
    changed = {
        "garbage behind": code + b"garbage" * 100,
        "zeros behind": code + bytes(3),
        "lost": code[:-3],
        "other": code[:-20] + bytes([code[-20] ^ 4]) + code[-19:],
    }[change]
    with pytest.raises(PackedFileDamaged):
        unpack(sealed(kind, changed, of_unpacked), tmp_path / "out.keras", never_cancelled)
    assert not list(tmp_path.iterdir())


def test_other_weights_than_were_packed_are_noticed(packed: bytes, tmp_path: Path) -> None:
    kind, code, of_unpacked = opened(packed)
    with pytest.raises(PackedFileDamaged, match=f"{of_unpacked:08x}"):
        unpack(sealed(kind, code, of_unpacked ^ 1), tmp_path / "out.keras", never_cancelled)
    assert not list(tmp_path.iterdir())


def test_weights_without_a_place_are_not_left_blank(
    packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KerasArchive, "places", lambda archive: None)
    with pytest.raises(PackedFileDamaged, match="not packed"):
        unpack(packed, tmp_path / "out.keras", never_cancelled)


def test_versions_of_keras_are_told_where_they_differ() -> None:
    assert "packed with Keras 3.1.0, and" in hint_of_versions('{"keras_version": "3.1.0"}')
    assert "Penjing" in hint_of_versions('{"keras_version": "3<b>evil"}')
    assert "Penjing" in hint_of_versions(f'{{"keras_version": "{keras.__version__}"}}')


def test_code_made_on_purpose_ends_cleanly_and_soon() -> None:
    """The checksum is right in these: an attacker can compute it, too."""
    rng = np.random.default_rng(1)
    stream = Stream.writing(never_cancelled)
    write_text(stream, b'{"a": 1}\n{"b": 2}')
    for shape in SHAPES:
        write_tensor(stream, (rng.integers(-3, 4, shape) * 0.5).astype(np.float32), None)
    code = stream.finish()
    codes = [*with_each_byte_flipped(code), *(random.Random(k).randbytes(60) for k in range(60))]
    started = time.process_time()
    tracemalloc.start()
    outcomes = [outcome(hostile) for hostile in codes]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {"read", "PackedFileDamaged", "PackedFileTooLarge"} >= set(outcomes)
    assert "PackedFileDamaged" in outcomes
    assert peak_bytes < 200 << 20
    assert time.process_time() - started < 60


def outcome(code: bytes) -> str:
    stream = Stream.reading(code, never_cancelled)
    try:
        read_texts(stream)
        for shape in SHAPES:
            read_tensor(stream, shape, np.dtype(np.float32))
    except PenjingError as error:
        return type(error).__name__
    return "read"


def test_declared_length_is_checked_before_anything_is_made(tmp_path: Path) -> None:
    stream = Stream.writing(never_cancelled)
    stream.number(Field.TEXT_LENGTH, 1 << 40, 1 << 40)
    content = sealed(Kind.MODEL, stream.finish(), 0)
    with pytest.raises(PackedFileDamaged, match=str(1 << 40)):
        unpack(content, tmp_path / "out.keras", never_cancelled)


def test_size_of_a_number_is_checked_before_it_leads_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 32 bits this number has no opposite: as a context it led far out of the memory."""
    plain = tmp_path / "plain.keras"
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    write_keras(model, plain)
    archive = KerasArchive.read(plain)
    assert archive is not None
    stream = Stream.writing(never_cancelled)
    write_text(stream, f"{archive.config}\n{archive.metadata}".encode())
    stream.number(Field.FORM, Form.INTEGERS, max(Form))
    with monkeypatch.context() as forging:
        forging.setattr(Stream, "_check_numbers", lambda stream: None)
        code_numbers(stream, (4,), np.array([1, 1, -(2**31), 1], np.int32), Arrangement())
    with pytest.raises(PackedFileDamaged, match="further from 0"):
        unpack(sealed(Kind.MODEL, stream.finish(), 0), tmp_path / "out.keras", never_cancelled)


@pytest.mark.parametrize("field", Field)
def test_every_field_has_a_bound(field: Field) -> None:
    stream = Stream.writing(never_cancelled)
    stream.number(field, (1 << 62) - 1, 0)
    with pytest.raises(PackedFileDamaged, match="is at most 7"):
        Stream.reading(stream.finish(), never_cancelled).number(field, 0, 7)


def test_code_that_ends_early_is_noticed() -> None:
    stream = Stream.writing(never_cancelled)
    stream.number(Field.TEXT_LENGTH, 60 << 20, 60 << 20)
    with pytest.raises(PackedFileDamaged, match="ends before"):
        read_texts(Stream.reading(stream.finish(), never_cancelled))


@pytest.mark.parametrize(
    "config",
    [
        "no json",
        "[" * 100_000,
        "{}",
        '{"module": "os", "class_name": "system", "config": {}, "registered_name": null}',
        '{"module": "builtins", "class_name": "eval", "config": "1", "registered_name": null}',
    ],
)
def test_architecture_that_is_none_is_refused(config: str, tmp_path: Path) -> None:
    stream = Stream.writing(never_cancelled)
    write_text(stream, f"{config}\n{{}}".encode())
    with pytest.raises(PackedFileDamaged, match="cannot rebuild"):
        unpack(sealed(Kind.MODEL, stream.finish(), 0), tmp_path / "out.keras", never_cancelled)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Lambda", "keras.layers"),
        ("TFSMLayer", "keras.layers"),
        ("StringLookup", "keras.layers"),
        ("function", "keras.utils"),
        ("function", "os"),
    ],
)
def test_architecture_that_names_code_is_refused(name: str, module: str, tmp_path: Path) -> None:
    """Keras takes a Lambda of one of its own functions even in its safe mode."""
    relu = {"module": "keras.ops", "class_name": "function", "config": "relu"}
    inner = {"module": module, "class_name": name, "config": {"function": relu, "name": "l"}}
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    config = json.loads(model.to_json())
    config["config"]["layers"].append(inner)
    stream = Stream.writing(never_cancelled)
    write_text(stream, f"{json.dumps(config)}\n{{}}".encode())
    with pytest.raises(PackedFileDamaged, match=f"names {name}") as caught:
        unpack(sealed(Kind.MODEL, stream.finish(), 0), tmp_path / "out.keras", never_cancelled)
    assert "safe_mode" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_architecture_of_too_many_layers_is_refused_before_it_is_built(tmp_path: Path) -> None:
    stream = Stream.writing(never_cancelled)
    layers = ", ".join(["{}"] * 10_001)
    write_text(
        stream, f'{{"class_name": "Sequential", "config": {{"layers": [{layers}]}}}}\n{{}}'.encode()
    )
    with pytest.raises(PackedFileTooLarge, match="more than 10000 layers"):
        unpack(sealed(Kind.MODEL, stream.finish(), 0), tmp_path / "out.keras", never_cancelled)


def test_more_weights_than_allowed_are_refused(packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(PackedFileTooLarge, match="allowed are 100"):
        unpack(packed, tmp_path / "out.keras", never_cancelled, most_bytes=100)


def test_bomb_inside_is_refused(tmp_path: Path) -> None:
    import lzma

    content = sealed(Kind.WHOLE_FILE, lzma.compress(bytes(10_000_000), lzma.FORMAT_ALONE), 0)
    with pytest.raises(PackedFileTooLarge, match="more than 1000"):
        unpack(content, tmp_path / "out.keras", never_cancelled, most_bytes=1000)
    with pytest.raises(PackedFileDamaged):
        unpack(sealed(Kind.WHOLE_FILE, b"x" * 50, 0), tmp_path / "o", never_cancelled)
