"""The hostile files: what each must get, and the marks that they leave when they are run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class HostileFile:
    """One file of the corpus, as its manifest describes it."""

    name: str
    is_dataset: bool
    expect: Literal["ok", "4xx", "ok_or_4xx", "fail_clean"]
    stage: Literal["upload", "validate", "job"]
    tries: str

    @property
    def content(self) -> bytes:
        return (CORPUS / self.name).read_bytes()

    @property
    def route(self) -> str:
        return "/v1/datasets" if self.is_dataset else "/v1/models"


@dataclass(frozen=True)
class Marks:
    """Where payloads leave a file that says they ran, and the secret they try to read."""

    folder: Path
    canary: str

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("pwned_*"))


@cache
def hostile_files() -> tuple[HostileFile, ...]:
    return tuple(
        HostileFile(
            name=each["file"],
            is_dataset=each["kind"] == "dataset",
            expect=each["expect"],
            stage=each["stage"],
            tries=each["tries"],
        )
        for each in _manifest()["files"]
    )


def hostile_file(name: str) -> HostileFile:
    return next(file for file in hostile_files() if file.name.startswith(name))


@contextmanager
def marks() -> Iterator[Marks]:
    """The folder that the payloads write to, and the canary in it; both open to everyone."""
    manifest = _manifest()
    folder, canary = Path(manifest["mark_dir"]), Path(manifest["canary_path"])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    for old in folder.glob("pwned_*"):
        old.unlink()
    canary.write_text(manifest["canary"])
    canary.chmod(0o644)
    yield Marks(folder, manifest["canary"])


@cache
def _manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((CORPUS / "manifest.json").read_text())
    return manifest
