"""The output of a part, on disk and capped."""

from pathlib import Path

MAX_BYTES = 5 * 2**20


class CappedLog:
    """Appends bytes to `path`; when it is full it becomes `<path>.1` and a new one begins."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        if self._file.tell() and self._file.tell() + len(content) > self._max_bytes:
            self._rotate()
        self._file.write(content)

    def tail(self, lines: int) -> str:
        """The last lines, for an error message."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 16_384))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)
