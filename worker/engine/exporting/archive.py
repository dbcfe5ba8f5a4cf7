"""Zip files that depend on their content alone: same files, same bytes."""

import zipfile
from pathlib import Path

# The earliest time the zip format knows.
EPOCH = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16


def write_zip(path: Path, members: dict[str, Path | bytes], *, compressed: bool) -> None:
    """Write `members` (name in the archive -> file or content) in the order of their names."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = method
            info.external_attr = READABLE
            content = members[name]
            archive.writestr(info, content if isinstance(content, bytes) else content.read_bytes())


def files_below(folder: Path) -> dict[str, Path | bytes]:
    """Every file under `folder` by its relative POSIX name."""
    return {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
