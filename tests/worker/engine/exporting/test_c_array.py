"""C++ source that holds a tflite file, and the note on running it."""

import re
import zipfile
from pathlib import Path

from worker.engine.exporting.c_array import (
    NOTE,
    SOURCE,
    content_of,
    read_c_array,
    source_of,
    write_c_array,
)
from worker.engine.exporting.tflite_micro import arena_bytes, method_of, micro_note
from worker.engine.measuring.tflite_file import read_tflite


def test_source_is_an_aligned_array_with_its_length() -> None:
    content = bytes(range(14))
    source = source_of(content).decode()
    assert "alignas(16) const unsigned char g_model[] = {\n  0x00, 0x01, " in source
    assert "0x0b,\n  0x0c, 0x0d,\n};" in source
    assert source.endswith("const unsigned int g_model_len = 14;\n")
    assert content_of(source.encode()) == content


def test_zip_gives_back_the_file_and_is_the_same_again(
    conv_files: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("one.zip", "two.zip"):
        write_c_array(conv_files["int8"], tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert read_c_array(tmp_path / "one.zip") == conv_files["int8"]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == [NOTE, SOURCE, "model_data.h"]


def test_operators_are_registered_by_the_resolvers_own_names() -> None:
    names = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "PADV2", "BATCH_TO_SPACE_ND")
    assert [method_of(name) for name in names] == [
        "AddConv2D",
        "AddDepthwiseConv2D",
        "AddFullyConnected",
        "AddPadV2",
        "AddBatchToSpaceNd",
    ]


def test_note_names_the_operators_and_the_least_arena(conv_files: dict[str, bytes]) -> None:
    note = micro_note(conv_files["int8"], "g_model")
    file = read_tflite(conv_files["int8"])
    registered = re.findall(r"resolver\.(\w+)\(\);", note)
    assert f"MicroMutableOpResolver<{len(registered)}>" in note
    assert registered == sorted({method_of(one.name) for one in file.operators})
    # Input 6x6x1 as int8 in 48 bytes, its convolution 4x4x4 in 64: both at the same time.
    assert arena_bytes(file) == 48 + 64
    assert "take 112 bytes" in note
    assert "will not run" not in note


def test_note_says_what_keeps_a_file_from_running(conv_files: dict[str, bytes]) -> None:
    note = micro_note(conv_files["float16"], "g_model")
    assert "This file will not run there as it is" in note
    assert "float16 weights; ask for full_integer_quantization" in note
