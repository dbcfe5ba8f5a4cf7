"""Pictures of an archive as arrays: PNG, JPEG and BMP by Pillow, nothing else of it.

Each file is read with a cap, must begin as its name says, and declares its size before anything of
it is decoded. Only what keeps every value is converted: gray to color, palettes, an alpha channel
that hides nothing. A picture that says how it is to be turned (EXIF) stays as it is stored.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from app.datafiles.bounds import check_unpacked
from app.datafiles.image_folder import ImageFolder, Picture, arranged
from app.datafiles.unreadable import UnreadableData

MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 4096 * 4096
# Parts of a PNG without pixels, which would unpack to much more than they are.
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")

Array = NDArray[Any]
# By class, not by `Image.open`: no other reader of Pillow is loaded, whatever a file begins with.
READERS: dict[str, tuple[bytes, type[ImageFile.ImageFile]]] = {
    "png": (b"\x89PNG\r\n\x1a\n", PngImageFile),
    "jpeg": (b"\xff\xd8\xff", JpegImageFile),
    "bmp": (b"BM", BmpImageFile),
}
PNG_END = b"IEND\xae\x42\x60\x82"
GRAY = frozenset({"1", "L", "LA"})
COLOR = frozenset({"RGB", "RGBA", "P", "PA"})
WITH_ALPHA = frozenset({"LA", "RGBA", "PA"})
# What Pillow raises at files that are not as they should be; and zipfile.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error),
    *(LookupError, TypeError, AttributeError, RuntimeError, Image.DecompressionBombError),
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class PictureArchive:
    """Pictures that were looked at and fit together.

    `shape` is that of each: [height, width] where all are gray, else [height, width, 3].
    """

    archive: zipfile.ZipFile
    folder: ImageFolder
    shape: tuple[int, ...]

    def pixels(self, pictures: Sequence[Picture]) -> Iterator[Array]:
        """One by one, uint8, each of `shape`.

        Raises: UnreadableData.
        """
        mode = "L" if len(self.shape) == 2 else "RGB"
        for picture in pictures:
            yield _decoded(_opened(self.archive, picture), picture, mode)


def open_pictures(archive: zipfile.ZipFile, stored_bytes: int) -> PictureArchive:
    """Look at every picture's declaration, and decode none.

    Args:
        stored_bytes: of the whole archive.

    Raises: UnreadableData.
    """
    folder = arranged(archive.namelist())
    first: tuple[Picture, tuple[int, int]] | None = None
    modes: set[str] = set()
    for picture in folder.pictures:
        image = _opened(archive, picture)
        if first is None:
            first = picture, image.size
            values = image.width * image.height * 3 * len(folder.pictures)
            check_unpacked(values, stored_bytes, hint="Send fewer or smaller pictures.")
        _check_same_size(picture, image.size, first)
        modes.add(image.mode)
    assert first is not None
    width, height = first[1]
    is_gray = modes <= GRAY
    return PictureArchive(archive, folder, (height, width) if is_gray else (height, width, 3))


def _opened(archive: zipfile.ZipFile, picture: Picture) -> ImageFile.ImageFile:
    """The picture with its declaration read and found good."""
    content = _content(archive, picture.entry)
    magic, reader = READERS[picture.kind]
    if not content.startswith(magic):
        raise UnreadableData(
            f"{picture.entry[:80]!r} does not begin as a {picture.kind.upper()} file does",
            hint="Give each picture the ending of what it is.",
        )
    # Pillow is content once it has all pixels, though their checksum is missing.
    if picture.kind == "png" and PNG_END not in content:
        raise _broken(picture)
    if picture.kind == "png":
        content = _without_texts(content)
    try:
        image = reader(io.BytesIO(content))
    except BROKEN as error:
        raise _broken(picture) from error
    _check_declared(picture, image, content)
    return image


def _content(archive: zipfile.ZipFile, entry: str) -> bytes:
    try:
        with archive.open(entry) as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except BROKEN as error:
        raise UnreadableData(f"{entry[:80]!r} is damaged", hint="Pack the archive anew.") from error
    if len(content) > MAX_FILE_BYTES:
        raise UnreadableData(
            f"{entry[:80]!r} has more than {MAX_FILE_BYTES} bytes", hint="Send smaller pictures."
        )
    return content


def _without_texts(content: bytes) -> bytes:
    """A PNG without what programs wrote about the picture."""
    if not any(kind in content for kind in PNG_TEXTS):
        return content
    start = len(READERS["png"][0])
    kept = [content[:start]]
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4])
        if content[start + 4 : start + 8] not in PNG_TEXTS:
            kept.append(content[start:end])
        start = end
    return b"".join(kept)


def _check_declared(picture: Picture, image: ImageFile.ImageFile, content: bytes) -> None:
    name = repr(picture.entry[:80])
    if image.width * image.height > MAX_PIXELS or min(image.size) < 1:
        raise UnreadableData(
            f"{name} is declared as {image.width} x {image.height} pixels; at most {MAX_PIXELS} "
            "pixels are read",
            hint="Make the pictures as small as the model takes them.",
        )
    # Pillow would round the 16 bits of colors to 8 without a word.
    is_deep = picture.kind == "png" and content[12:16] == b"IHDR" and content[24] > 8
    if is_deep or image.mode not in GRAY | COLOR:
        what = "16 bits a channel" if is_deep else f"colors of the kind {image.mode!r}"
        raise UnreadableData(
            f"{name} has {what}; gray and RGB of 8 bits are read",
            hint="Convert it, or send the values as .npz.",
        )
    if getattr(image, "n_frames", 1) != 1:
        raise UnreadableData(f"{name} is animated", hint="Send each frame as a picture.")


def _check_same_size(
    picture: Picture, size: tuple[int, int], first: tuple[Picture, tuple[int, int]]
) -> None:
    if size != first[1]:
        raise UnreadableData(
            f"{picture.entry[:80]!r} has {size[0]} x {size[1]} pixels, {first[0].entry[:80]!r} has "
            f"{first[1][0]} x {first[1][1]}",
            hint="Bring all pictures to the size that the model takes before the upload.",
        )


def _decoded(image: ImageFile.ImageFile, picture: Picture, mode: str) -> Array:
    try:
        image.load()
        plain = _without_alpha(image, picture)
        return np.asarray(plain.convert(mode))
    except BROKEN as error:
        raise _broken(picture) from error


def _without_alpha(image: ImageFile.ImageFile, picture: Picture) -> Image.Image:
    """The same colors, where nothing shows through."""
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image
    whole = image.convert("LA" if image.mode == "LA" else "RGBA")
    if whole.getchannel("A").getextrema() != (255, 255):
        raise UnreadableData(
            f"{picture.entry[:80]!r} is transparent in places",
            hint="Put it on a background; a network sees no transparency.",
        )
    return whole.convert("L" if image.mode in GRAY else "RGB")


def _broken(picture: Picture) -> UnreadableData:
    return UnreadableData(
        f"{picture.entry[:80]!r} is damaged or cut off", hint="Replace it; check that it opens."
    )
