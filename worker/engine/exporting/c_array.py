"""A tflite file as C++ source for tflite-micro, with a note on what it takes to run it there."""

import re
import zipfile
from pathlib import Path

from worker.engine.exporting.archive import write_zip
from worker.engine.exporting.tflite_micro import micro_note

SOURCE = "model_data.cc"
HEADER = "model_data.h"
NOTE = "README.txt"
BYTES_A_LINE = 12
HEX = [f"0x{value:02x}," for value in range(256)]
BYTE = re.compile(rb"0x([0-9a-f]{2}),")
ARRAY = "g_model"
HEADER_TEXT = f"""#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

extern const unsigned char {ARRAY}[];
extern const unsigned int {ARRAY}_len;

#endif  // MODEL_DATA_H_
"""
BEGIN = f'#include "{HEADER}"\n\nalignas(16) const unsigned char {ARRAY}[] = {{\n'
END = "}};\nconst unsigned int " + ARRAY + "_len = {};\n"


def write_c_array(content: bytes, path: Path) -> None:
    """Write a zip of source, header and note."""
    members: dict[str, Path | bytes] = {
        SOURCE: source_of(content),
        HEADER: HEADER_TEXT.encode(),
        NOTE: micro_note(content, ARRAY).encode(),
    }
    write_zip(path, members, compressed=True)


def read_c_array(path: Path) -> bytes:
    """The tflite file that a compiler would find in the source."""
    with zipfile.ZipFile(path) as archive:
        return content_of(archive.read(SOURCE))


def source_of(content: bytes) -> bytes:
    """The array, aligned as a flatbuffer has to be."""
    lines = (
        "  " + " ".join(HEX[value] for value in content[start : start + BYTES_A_LINE])
        for start in range(0, len(content), BYTES_A_LINE)
    )
    return (BEGIN + "\n".join(lines) + "\n" + END.format(len(content))).encode()


def content_of(source: bytes) -> bytes:
    """The bytes that stand in the array of `source_of`."""
    return bytes(int(digits, 16) for digits in BYTE.findall(source))
