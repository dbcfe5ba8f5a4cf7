"""What goes wrong with the uploaded model itself: told as that, with the layer if it is named."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.errors import ModelNotLoadable, PenjingError
from worker.engine.foreign import first_line, is_out_of_memory

# Keras wraps an error once for each object around the one that it could not make.
WRAPPED = "could not be deserialized properly"
BEHIND = "Exception encountered: "
LAYER = re.compile(
    r"config=\{'module': 'keras\.layers', 'class_name': '\w+', 'config': \{.*?'name': '([^']*)'"
)
CALLED = re.compile(r"Exception encountered when calling (\w+)\.call\(\)")
HINT = "Check that the file loads and runs where it was made, and save or convert it again."


class Unmade(NamedTuple):
    """What Keras could not make: the layer where it is one, and why."""

    layer: str | None
    detail: str


@contextmanager
def of_the_model(doing: str) -> Iterator[None]:
    """Errors of others are the model's own: it is damaged, or nothing that can be run here.

    Raises: ModelNotLoadable; what Penjing raises, and that memory ran out, goes through.
    """
    try:
        yield
    except PenjingError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        called = CALLED.search(str(error))
        where = f"{called[1]}: " if called else ""
        raise ModelNotLoadable(f"{doing}: {where}{first_line(error)}", hint=HINT) from error


def unmade(said: str) -> Unmade | None:
    """None where the message is about anything else."""
    if WRAPPED not in said or BEHIND not in said:
        return None
    outer, _, why = said.rpartition(BEHIND)
    innermost = outer.rpartition(f"{BEHIND}<class ")[2]
    named = LAYER.search(innermost)
    return Unmade(named[1] if named else None, first_line(ValueError(why)))
