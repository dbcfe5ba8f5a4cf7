"""Files on their way: streamed up with progress, down with resumption and a digest check."""

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import httpx

from app.client.problems import DownloadCorrupt
from app.client.transport import RETRY_PAUSES_S, Transport
from app.jobs.views import ArtifactView

CHUNK_BYTES = 1024 * 1024
PARTIAL_CONTENT = 206

# Called with the bytes that went over the line so far, and those of the whole file.
Progress = Callable[[int, int], None]


def ignore_progress(done_bytes: int, total_bytes: int) -> None:
    """The progress callback of who does not look."""


def file_chunks(path: Path, on_progress: Progress) -> Iterator[bytes]:
    """The file's bytes, a chunk at a time."""
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            on_progress(done, total)


@dataclass
class Download:
    """One artifact on its way into a folder; what came stays there until it is complete.

    The partial file is named by the artifact's digest, so a later attempt, even of another process,
    takes it up where it ended.
    """

    transport: Transport
    artifact: ArtifactView
    folder: Path
    on_progress: Progress

    def run(self, filename: str | None) -> Path:
        """Fetch, verify, and move into place in one step.

        Raises: ApiProblem, DownloadCorrupt, ServiceUnreachable.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        headers = self._fetch_all()
        self._verify(headers)
        target = self.folder / (filename or offered_name(headers) or self.artifact.id)
        self._partial.replace(target)
        return target

    @property
    def _partial(self) -> Path:
        return self.folder / f".{self.artifact.sha256[:32]}.part"

    def _fetch_all(self) -> httpx.Headers:
        for pause_s in RETRY_PAUSES_S:
            try:
                return self.transport.let_in(self._fetch_rest)
            except httpx.TransportError:
                self.transport.sleep(pause_s)
        try:
            return self.transport.let_in(self._fetch_rest)
        except httpx.TransportError as error:
            raise self.transport.unreachable(error) from error

    def _fetch_rest(self) -> httpx.Headers:
        already = self._partial.stat().st_size if self._partial.exists() else 0
        if already >= self.artifact.size_bytes:
            already = 0
        # Ranges count the bytes of the file, so nothing on the way may compress it.
        headers = {"Accept-Encoding": "identity"}
        if already:
            headers |= {"If-Range": f'"{self.artifact.sha256}"', "Range": f"bytes={already}-"}
        with self.transport.stream(
            self.artifact.url, headers, self.transport.timeout_s
        ) as response:
            is_continued = response.status_code == PARTIAL_CONTENT
            with self._partial.open("ab" if is_continued else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    self.on_progress(file.tell(), self.artifact.size_bytes)
                file.flush()
                os.fsync(file.fileno())
            return response.headers

    def _verify(self, headers: httpx.Headers) -> None:
        with self._partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        promised = promised_sha256(headers) or self.artifact.sha256
        if found == promised == self.artifact.sha256:
            return
        self._partial.unlink()
        raise DownloadCorrupt(
            f"artifact {self.artifact.id} has the sha256 {promised}; what arrived has {found}",
            hint="Try again; if it stays so, something between here and the service alters it.",
        )


def promised_sha256(headers: httpx.Headers) -> str | None:
    """From Repr-Digest (RFC 9530), else from a strong ETag that looks like one."""
    if found := re.search(r"sha-256=:([A-Za-z0-9+/=]+):", headers.get("Repr-Digest", "")):
        return base64.b64decode(found[1]).hex()
    tagged = re.fullmatch(r'"([0-9a-f]{64})"', headers.get("ETag", ""))
    return tagged[1] if tagged else None


def offered_name(headers: httpx.Headers) -> str | None:
    """The file name of Content-Disposition (RFC 6266), without any folder."""
    name = Path(_disposition_filename(headers.get("Content-Disposition", ""))).name
    return None if name in ("", "..") else name


def _disposition_filename(given: str) -> str:
    if extended := re.search(r"filename\*=UTF-8''([^;]+)", given):
        return unquote(extended[1])
    plain = re.search(r'filename="([^"]+)"', given)
    return plain[1] if plain else ""
