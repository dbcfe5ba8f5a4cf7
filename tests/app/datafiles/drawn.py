"""Archives of small pictures, drawn for the tests of what reads them."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 5, 4


def pixels(number: int, *, channels: int | None = None) -> Pixels:
    """A picture that no other number has, [HEIGHT, WIDTH] or [HEIGHT, WIDTH, channels]."""
    shape = (HEIGHT, WIDTH) if channels is None else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image | NDArray[Any], kind: str = "png", **how: Any) -> bytes:
    file = io.BytesIO()
    drawn = image if isinstance(image, Image.Image) else Image.fromarray(image)
    drawn.save(file, kind, **how)
    return file.getvalue()


def archive(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def folder(count: int = 14, *, channels: int | None = None) -> dict[str, bytes]:
    """Pictures of two classes in turn; the names are in the order of the numbers."""
    return {
        f"{('cat', 'dog')[number % 2]}/{number:03d}.png": encoded(pixels(number, channels=channels))
        for number in range(count)
    }
