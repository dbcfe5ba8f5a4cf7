"""Reads `.npz` data sets: which arrays there are, whether they fit together, what they hold."""

import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO, NamedTuple

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions, InputArray, LabelArray
from app.uploads.archive import open_archive
from app.uploads.inspector.arrays import Labels, Range
from app.uploads.inspector.keras.lookups import INPUT_NAME
from app.uploads.inspector.npy import Header, flat_pieces, read_header, row_pieces
from app.uploads.inspector.splits import Rows, divided, enough, set_aside_note

ARRAY_NAME = re.compile(r"(?P<role>[xy])(?P<part>|_train|_test)(?:\.(?P<name>.+))?")
NAMING = (
    "Name the arrays x_train, y_train, x_test, y_test, or x and y; several inputs as "
    "x_train.<input name>, several outputs as y_train.<output name>."
)


class Member(NamedTuple):
    """One array of the archive: `x_train.left` is role x, part _train, name left."""

    entry: str
    role: str
    part: str
    name: str | None
    header: Header

    @property
    def shown(self) -> str:
        return self.entry.removesuffix(".npy")


def read_npz(file: BinaryIO, options: DatasetOptions) -> DatasetFacts:
    """What the archive holds.

    Raises: RejectedUpload.
    """
    with open_archive(file) as archive:
        members, unused = _members(archive)
        parts = _parts(members, unused)
        rows = _rows(parts, options)
        groups = _across_parts(parts)
        inputs = tuple(_input(archive, group) for group in groups if group[0].role == "x")
        labels = tuple(_labels(archive, group) for group in groups if group[0].role == "y")
    return DatasetFacts(
        format="npz",
        train_rows=rows.train,
        test_rows=rows.test,
        is_split_here="" in parts,
        inputs=inputs,
        labels=labels,
        notes=tuple(_notes(unused, rows if "" in parts else None, labels)),
    )


def _members(archive: zipfile.ZipFile) -> tuple[list[Member], list[str]]:
    """The arrays that have a role, and the names of those that have none."""
    found = {
        entry: ARRAY_NAME.fullmatch(entry.removesuffix(".npy")) for entry in archive.namelist()
    }
    has_split = any(match and match[0].startswith("x_train") for match in found.values())
    wanted = ("_train", "_test") if has_split else ("",)
    members = [
        _member(archive, entry, match)
        for entry, match in found.items()
        if match and match["part"] in wanted
    ]
    used = {member.entry for member in members}
    return members, sorted(entry.removesuffix(".npy") for entry in found if entry not in used)


def _member(archive: zipfile.ZipFile, entry: str, match: re.Match[str]) -> Member:
    name = match["name"]
    if name is not None and not INPUT_NAME.fullmatch(name):
        raise RejectedUpload(
            f"an array is called {entry[:80]!r}",
            hint="Names may hold letters, digits, spaces and . _ - : + = , # ( ) [ ].",
        )
    return Member(entry, match["role"], match["part"], name, read_header(archive, entry))


def _parts(members: list[Member], unused: list[str]) -> Mapping[str, list[Member]]:
    """Members by part, if every part has what it needs."""
    parts: dict[str, list[Member]] = {}
    for member in members:
        parts.setdefault(member.part, []).append(member)
    if not any(member.role == "x" for member in members):
        names = [*(member.shown for member in members), *unused]
        shown = ", ".join(repr(name[:80]) for name in names[:20])
        raise RejectedUpload(f"the archive has no array x; it has {shown}", hint=NAMING)
    if "" not in parts:
        _check_same_arrays(parts)
    return parts


def _check_same_arrays(parts: Mapping[str, list[Member]]) -> None:
    """What is there to train must be there to test."""
    train = {(member.role, member.name): member for member in parts.get("_train", [])}
    test = {(member.role, member.name): member for member in parts.get("_test", [])}
    for key in sorted(train.keys() ^ test.keys(), key=str):
        there = (train.get(key) or test[key]).shown
        swapped = ("_train", "_test") if key in train else ("_test", "_train")
        raise RejectedUpload(
            f"there is {there!r} but no {there.replace(*swapped, 1)!r}",
            hint="Give both, or one pair x and y to be split here (?test_fraction=).",
        )
    for key, member in train.items():
        ours, theirs = member.header.row_shape, test[key].header.row_shape
        if ours != theirs:
            raise RejectedUpload(
                f"rows of {member.shown!r} have shape {ours}, of {test[key].shown!r} {theirs}"
            )


def _rows(parts: Mapping[str, list[Member]], options: DatasetOptions) -> Rows:
    counts = {part: _row_count(members) for part, members in parts.items()}
    if "" in counts:
        return divided(counts[""], options.test_fraction)
    return enough(Rows(counts["_train"], counts["_test"]))


def _row_count(members: list[Member]) -> int:
    counts = {member.shown: member.header.shape[0] for member in members}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise RejectedUpload(
            f"the arrays differ in their number of rows: {shown}",
            hint="Each row of x belongs to the row of y with the same number.",
        )
    return next(iter(counts.values()))


def _across_parts(parts: Mapping[str, list[Member]]) -> list[tuple[Member, ...]]:
    """Each array with its counterpart of the other part, inputs and labels in file order."""
    groups: dict[tuple[str, str | None], list[Member]] = {}
    for part in sorted(parts, reverse=True):
        for member in parts[part]:
            groups.setdefault((member.role, member.name), []).append(member)
    return [tuple(group) for group in groups.values()]


def _input(archive: zipfile.ZipFile, group: tuple[Member, ...]) -> InputArray:
    seen = Range()
    for member in group:
        for piece in flat_pieces(archive, member.entry, member.header):
            seen.add(piece)
        seen.require_finite(member.shown)
    first = group[0]
    return seen.as_input(first.name, first.header.row_shape, first.header.dtype.name)


def _labels(archive: zipfile.ZipFile, group: tuple[Member, ...]) -> LabelArray:
    seen = Labels()
    for member in group:
        for piece in row_pieces(archive, member.entry, member.header):
            seen.add(piece)
        seen.require_finite(member.shown)
    first = group[0]
    return seen.as_labels(first.name, first.header.row_shape, first.header.dtype)


def _notes(unused: list[str], split: Rows | None, labels: tuple[LabelArray, ...]) -> Iterable[str]:
    if split:
        yield set_aside_note(split)
    if unused:
        yield f"arrays not used: {', '.join(repr(name[:80]) for name in unused[:20])}"
    if not labels:
        yield "there are no labels: this data can calibrate and compare, not train"
