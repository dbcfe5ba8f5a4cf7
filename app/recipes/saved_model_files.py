"""Which files a zipped SavedModel is made of, and which of its signatures is called; pure.

Nothing is written under a name out of the archive: what a member is, is known by its name, and what
it is called here afterwards is one of the names below.
"""

import re
from collections.abc import Iterable

from app.errors import RejectedUpload

GRAPH = "saved_model.pb"
INDEX = "variables/variables.index"
# What Keras and TensorFlow put beside the graph; nothing here reads it.
BESIDE = frozenset({"fingerprint.pb", "keras_metadata.pb"})
SHARD = re.compile(r"variables/variables\.data-([0-9]{5})-of-([0-9]{5})")
# Folders that an archive may list; TensorFlow always makes `assets`, mostly empty.
FOLDERS = frozenset({"", "variables/", "assets/"})
TEXT_GRAPH = "saved_model.pbtxt"
MAX_SHARDS = 100
DEFAULT_SIGNATURE = "serving_default"
# What runs when the model is loaded is written down as a signature too.
INIT_SIGNATURE = "__saved_model_init_op"
DIGITS = re.compile(r"([0-9]{1,18})")


def shard_name(number: int, count: int) -> str:
    return f"variables/variables.data-{number:05d}-of-{count:05d}"


def chosen_signature(names: Iterable[str]) -> str | None:
    """The default one, or the only one; null where nobody can tell."""
    callable_ones = [name for name in names if name != INIT_SIGNATURE]
    if DEFAULT_SIGNATURE in callable_ones:
        return DEFAULT_SIGNATURE
    return callable_ones[0] if len(callable_ones) == 1 else None


def in_order(names: Iterable[str]) -> list[str]:
    """Inputs or outputs, `output_10` behind `output_9`: a signature itself knows no order."""
    return sorted(names, key=_rank)


def _rank(name: str) -> list[tuple[int, int, str]]:
    words = [word for word in DIGITS.split(name) if word]
    return [(1, int(word), "") if DIGITS.fullmatch(word) else (0, 0, word) for word in words]


def is_saved_model(members: Iterable[str]) -> bool:
    """Whether an archive with these members is meant as a SavedModel."""
    return any(name.rsplit("/", 1)[-1] in (GRAPH, TEXT_GRAPH) for name in members)


def members_by_file(members: Iterable[str]) -> dict[str, str]:
    """Member of the archive, by what the file is called in a SavedModel folder.

    The files are at the root of the archive or in one folder.
    Raises: RejectedUpload for what does not belong to a SavedModel, or is missing.
    """
    names = sorted(members)
    top = _top(names)
    found: dict[str, str] = {}
    for name in names:
        file = name.removeprefix(top) if name.startswith(top) else None
        if file in FOLDERS:
            continue
        if file is None or not _is_known(file):
            raise _unknown(name, file or name)
        found[file] = name
    _check_shards(found)
    return found


def _top(names: list[str]) -> str:
    """The folder that all is in, with its slash; empty where the graph is at the root."""
    graphs = [name for name in names if name.rsplit("/", 1)[-1] == GRAPH]
    if len(graphs) != 1 or graphs[0].count("/") > 1:
        raise RejectedUpload(
            f"{GRAPH} is not exactly once at the root of the archive, or in its one folder",
            hint="Zip the folder that tf.saved_model.save or model.export wrote, nothing else.",
        )
    return graphs[0].removesuffix(GRAPH)


def _is_known(file: str) -> bool:
    return file in BESIDE or file in (GRAPH, INDEX) or SHARD.fullmatch(file) is not None


def _unknown(name: str, file: str) -> RejectedUpload:
    if file.startswith(("assets/", "assets.extra/")):
        return RejectedUpload(
            f"the SavedModel has the asset file {name[:100]!r}",
            hint="Models may not read files: give vocabularies in the layer's configuration, and "
            "export without assets.",
        )
    if file == TEXT_GRAPH:
        return RejectedUpload(
            f"the SavedModel is written as text ({TEXT_GRAPH})",
            hint="Save it in binary form, as tf.saved_model.save does.",
        )
    return RejectedUpload(
        f"{name[:100]!r} in the archive is no part of a SavedModel",
        hint=f"It may hold {GRAPH}, variables/, and if you like fingerprint.pb and "
        "keras_metadata.pb.",
    )


def _check_shards(found: dict[str, str]) -> None:
    """Variables are an index and all shards that their names count, or nothing."""
    numbers = [match.groups() for name in found if (match := SHARD.fullmatch(name))]
    count = len(numbers)
    wanted = [shard_name(number, count) for number in range(count)]
    if count > MAX_SHARDS or any(name not in found for name in wanted):
        raise RejectedUpload(
            "the files variables/variables.data-... are not as many as their names say",
            hint="Zip the whole folder that was saved.",
        )
    if bool(count) != (INDEX in found):
        missing = INDEX if count else "variables/variables.data-00000-of-00001"
        raise RejectedUpload(
            f"the SavedModel lacks {missing}", hint="Zip the whole folder that was saved."
        )
