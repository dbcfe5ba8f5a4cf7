"""What Keras says where the weights of a file do not fit its configuration, in fewer words."""

import re
from typing import NamedTuple

# Of a .keras file: how many, then one of them. Of a .h5 file: the first. Names are a client's: each
# repetition is read once, and has an end.
ARCHIVE = re.compile(
    r"A total of \d+ objects could not be loaded[^<]{0,1000}+<\w{1,1000}+ name=([^,>]{1,1000}+)"
    r"[^\n]{0,1000}+\n\n"
)
H5 = re.compile(r"Shape mismatch in layer #\d+ \(named ([^)]{1,1000}+)\)")
H5_COUNT = re.compile(r"Layer count mismatch when loading weights from file\. (.+)")
SHAPES = re.compile(r"shape[= ](\([\d, ]*\)).*?shape[= ](\([\d, ]*\))", re.DOTALL)
HINT = "Configuration and weights do not belong together; save the model again."


class Misfit(NamedTuple):
    """`layer`: the first whose weights do not fit; None where whole layers lack or are too many."""

    layer: str | None
    detail: str


def misfit(said: str) -> Misfit | None:
    """None where the message is about anything else."""
    if count := H5_COUNT.search(said):
        return Misfit(None, f"the weights in the file do not fit the model: {count[1]}")
    found = ARCHIVE.search(said) or H5.search(said)
    if not found:
        return None
    rest = said[found.end() :]
    if shapes := SHAPES.search(rest):
        why = f"one has the shape {shapes[2]}, where {shapes[1]} belongs"
    else:
        why = rest.partition("\n")[0][:300]
    return Misfit(found[1], f"the weights in the file do not fit layer {found[1]!r}: {why}")
