"""Errors of Keras, TensorFlow and the like: what they say in a line, and which go through.

Imported without the engine's heavy libraries: the measuring process and the wall around the engine
use it too.
"""

import re

ANSI_COLOR = re.compile(r"\x1b\[\d+m")
KERAS_PREAMBLE = "Exception encountered when calling"
# Where in a graph a compiler met an error, and which operator it names.
MLIR_PLACE = re.compile(r"(?<!\s)\s*+(?:<unknown>:\d+: )?error: loc\(.*")
MLIR_OPERATOR = re.compile(r"'tfl?\.\w+' op (?:is|requires|failed|must|cannot)\b[^\n]*")
# Absolute paths only: `model/dense/MatMul` is the name of a node, `https://...` says where to read.
PATH = re.compile(r"(?:file://|(?<![\w./]))(?:/[\w.@+-]+){2,}/?")


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line that says something, with paths of this machine taken out.

    The rest is mostly a compiler's own trace. Where nothing is said: the kind of error.
    """
    lines = [ANSI_COLOR.sub("", line).strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(KERAS_PREAMBLE)]
    return PATH.sub("<path>", _without_place(telling[0]) if telling else type(error).__name__)[
        :limit
    ]


def _without_place(line: str) -> str:
    said = MLIR_OPERATOR.search(line)
    return MLIR_PLACE.sub(f" {said[0]}" if said else "", line).strip() or line


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, which is no fault of the model and is to be told as what it is."""
    # TensorFlow's own error goes by its name: importing it takes seconds.
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
