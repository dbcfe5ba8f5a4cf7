"""Which pictures of an archive belong to which class, and in which order; names alone, pure.

    <class>/<picture>                         divided by test_fraction
    train/<class>/<picture>  test/<class>/…   as given

One folder around all of it is passed over. Classes are numbered in the order of their names, and
pictures come class by class in the order of theirs, so the same files always give the same rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import NamedTuple

from app.datafiles.names import is_usable
from app.datafiles.unreadable import UnreadableData

MAX_PICTURES = 100_000
MAX_CLASSES = 2_000
MAX_CLASS_NAME_LENGTH = 80
KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".bmp": "bmp"}
PARTS = frozenset({"train", "test"})
# What file managers leave behind.
LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini"})
# What others call the pictures to choose between models by.
THIRD_PARTS = frozenset({"val", "valid", "validation", "dev"})
LAYOUT = (
    "Pack a folder for each class: <class>/<picture>.png, or train/<class>/<picture>.png and "
    "test/<class>/<picture>.png. Pictures are .png, .jpg, .jpeg or .bmp."
)

Path = tuple[str, ...]


class Picture(NamedTuple):
    """One file of the archive; `label` is the number of its class."""

    entry: str
    kind: str
    label: int


class ImageFolder(NamedTuple):
    """Pictures in the order of their rows; `test` is None where they are to be divided here."""

    classes: tuple[str, ...]
    train: tuple[Picture, ...]
    test: tuple[Picture, ...] | None
    notes: tuple[str, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return self.train + (self.test or ())


def kind_of(name: str) -> str | None:
    """What the ending of a file's name says it is; None where that is no picture."""
    return KINDS.get(PurePosixPath(name).suffix.lower())


def is_picture(name: str) -> bool:
    return kind_of(name) is not None and not is_passed_over(name)


def is_passed_over(name: str) -> bool:
    """Folders, hidden files, and what file managers leave behind: never opened."""
    parts = name.split("/")
    return (
        parts[-1] == ""
        or parts[-1].lower() in LEFT_BEHIND
        or any(part.startswith(".") or part == "__MACOSX" for part in parts)
    )


def arranged(names: Iterable[str]) -> ImageFolder:
    """Raises: UnreadableData with what does not belong there."""
    everything = list(names)
    wanted = [name for name in everything if not is_passed_over(name)]
    _check_files(wanted)
    paths = {tuple(_as_written(name).split("/")): name for name in wanted}
    divided = _by_part(_without_top(paths))
    train = divided.get("train") or divided[""]
    classes = _classes(train)
    hidden = len(everything) - len(wanted) - sum(name.endswith("/") for name in everything)
    notes = (f"{hidden} hidden files were passed over",) if hidden else ()
    test = _pictures(divided["test"], classes) if "test" in divided else None
    return ImageFolder(classes, _pictures(train, classes), test, notes)


def _as_written(name: str) -> str:
    """Some tools write UTF-8 and do not say so; the name was then read as text of code page 437."""
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _check_files(names: Sequence[str]) -> None:
    if not names:
        raise UnreadableData("the archive holds no pictures", hint=LAYOUT)
    if len(names) > MAX_PICTURES:
        raise UnreadableData(
            f"the archive holds {len(names)} pictures; at most {MAX_PICTURES} are read",
            hint="Send fewer, or the values as .npz.",
        )
    for name in names:
        if kind_of(name) is None:
            raise UnreadableData(f"{name[:80]!r} is not named as a picture", hint=LAYOUT)


def _without_top(paths: Mapping[Path, str]) -> Mapping[Path, str]:
    """Without the folder that is around everything, if there is one above the classes."""
    has_top = len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 2
    return {path[1:]: name for path, name in paths.items()} if has_top else paths


def _by_part(paths: Mapping[Path, str]) -> dict[str, dict[Path, str]]:
    """Paths <class>/<picture> under train and test, or all of them under the empty name."""
    tops = {path[0] for path in paths}
    if max(map(len, paths)) > 2:
        _check_parts(tops)
    if tops == PARTS and max(map(len, paths)) > 2:
        parts = {
            part: {path[1:]: name for path, name in paths.items() if path[0] == part}
            for part in PARTS
        }
    else:
        parts = {"": dict(paths)}
    for part in parts.values():
        for path, name in part.items():
            if len(path) != 2:
                raise UnreadableData(f"{name[:80]!r} lies in no folder of a class", hint=LAYOUT)
    return parts


def _check_parts(tops: Set[str]) -> None:
    third = sorted(top for top in tops if top.lower() in THIRD_PARTS)
    if "train" in tops and third:
        raise UnreadableData(
            f"beside train there is a folder {third[0]!r}; there are two parts, train and test",
            hint=f"Move the pictures of {third[0]!r} into train: what a step needs for validation "
            "is set aside from there. Without a test folder, call it test.",
        )


def _classes(paths: Mapping[Path, str]) -> tuple[str, ...]:
    """Names in order: their places are the labels."""
    names = sorted({path[0] for path in paths})
    if len(names) < 2:
        raise UnreadableData(
            f"all pictures lie in one folder, {names[0][:80]!r}, so there is one class only",
            hint=LAYOUT,
        )
    if len(names) > MAX_CLASSES:
        raise UnreadableData(
            f"there are {len(names)} folders of classes; at most {MAX_CLASSES} are read",
            hint="Number the classes and send the values as .npz.",
        )
    for name in names:
        if not is_usable(name, MAX_CLASS_NAME_LENGTH):
            raise UnreadableData(
                f"a class is called {name[:80]!r}",
                hint=f"Give its folder a name of at most {MAX_CLASS_NAME_LENGTH} characters that "
                "can be shown.",
            )
    return tuple(names)


def _pictures(paths: Mapping[Path, str], classes: Sequence[str]) -> tuple[Picture, ...]:
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = sorted({path[0] for path in paths} - numbers.keys())
    if unknown:
        raise UnreadableData(
            f"test has the class {unknown[0][:80]!r}, train has not",
            hint="Give every class pictures to learn from.",
        )
    by_class: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_class[path[0]].append(path)
    return tuple(
        Picture(paths[path], kind_of(path[1]) or "", numbers[name])
        for name in classes
        for path in sorted(by_class[name])
    )
