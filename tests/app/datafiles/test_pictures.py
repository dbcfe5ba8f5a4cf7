"""Pictures: what keeps its values, and what is refused before it is decoded."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from app.datafiles import bounds, pictures
from app.datafiles.pictures import open_pictures
from app.datafiles.unreadable import UnreadableData
from tests.app.datafiles.drawn import HEIGHT, WIDTH, Pixels, archive, encoded, folder, pixels


def read(members: dict[str, bytes]) -> Pixels:
    """All pictures, [pictures, height, width, ...]."""
    content = archive(members)
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        found = open_pictures(packed, len(content))
        values = np.stack(list(found.pixels(found.folder.train)))
        assert values.shape[1:] == found.shape
        return values


def read_one(content: bytes, ending: str = "png") -> Pixels:
    """A picture beside a gray one of the same size."""
    first: Pixels = read({f"a/1.{ending}": content, "b/1.png": encoded(pixels(0))})[0]
    return first


def refusal(content: bytes, ending: str = "png") -> str:
    with pytest.raises(UnreadableData) as caught:
        read({"b/1.png": encoded(pixels(0)), f"c/2.{ending}": content})
    return str(caught.value)


def chunk(kind: bytes, content: bytes) -> bytes:
    length = struct.pack(">I", len(content))
    return length + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def declared_png(width: int, height: int, *more: bytes, depth: int = 8, color: int = 0) -> bytes:
    """A PNG that says this of itself, followed by chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["png", "bmp"])
@pytest.mark.parametrize("channels", [None, 3])
def test_pictures_keep_every_value(kind: str, channels: int | None) -> None:
    drawn = [pixels(number, channels=channels) for number in range(4)]
    found = read({f"{n % 2}/{n}.{kind}": encoded(each, kind) for n, each in enumerate(drawn)})
    np.testing.assert_array_equal(found, [drawn[0], drawn[2], drawn[1], drawn[3]])
    assert found.dtype == np.uint8


def test_pictures_are_read_from_jpeg_as_pillow_reads_it() -> None:
    content = encoded(pixels(1, channels=3), "jpeg")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    for ending in ("jpg", "jpeg", "JPG"):
        np.testing.assert_array_equal(read_one(content, ending), expected)


def test_gray_becomes_color_where_one_picture_has_colors() -> None:
    gray, color = pixels(1), pixels(2, channels=3)
    found = read({"a/1.png": encoded(gray), "b/1.png": encoded(color)})
    np.testing.assert_array_equal(found, [np.stack([gray] * 3, axis=-1), color])


def test_pictures_of_two_tones_become_gray() -> None:
    drawn = np.where(pixels(1) > 99, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(read_one(encoded(Image.fromarray(drawn).convert("1"))), drawn)


def test_palettes_become_their_colors() -> None:
    image = Image.fromarray(pixels(1, channels=3)).quantize(8)
    np.testing.assert_array_equal(read_one(encoded(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_that_hides_nothing_is_dropped(mode: str) -> None:
    color = pixels(1, channels=len(mode) - 1).squeeze()
    image = Image.fromarray(color).convert(mode)
    np.testing.assert_array_equal(read_one(encoded(image)), color)


def test_alpha_is_refused_where_something_shows_through() -> None:
    image = Image.fromarray(pixels(1)).convert("LA")
    image.putpixel((0, 0), (7, 254))
    assert refusal(encoded(image)) == "'c/2.png' is transparent in places"
    palette = Image.fromarray(pixels(1)).convert("P")
    color = palette.getpixel((0, 0))
    assert "transparent" in refusal(encoded(palette, transparency=color))


@pytest.mark.parametrize(
    ("content", "ending", "why"),
    [
        (encoded(pixels(1), "bmp"), "png", "does not begin as a PNG file does"),
        (encoded(pixels(1)), "jpg", "does not begin as a JPEG file does"),
        (encoded(pixels(1), "gif"), "bmp", "does not begin as a BMP file does"),
        (encoded(pixels(1), "tiff"), "png", "does not begin as a PNG file does"),
        (b"", "png", "does not begin as a PNG file does"),
        (encoded(pixels(1))[:-30], "png", "is damaged or cut off"),
        (encoded(pixels(1), "jpeg")[:-30], "jpg", "is damaged or cut off"),
        (encoded(pixels(1), "bmp")[:-10], "bmp", "is damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "png", "is damaged or cut off"),
        (encoded(pixels(1).astype(np.uint16) * 256), "png", "has 16 bits a channel"),
        (declared_png(WIDTH, HEIGHT, depth=16, color=2), "png", "has 16 bits a channel"),
        (encoded(Image.new("CMYK", (WIDTH, HEIGHT)), "jpeg"), "jpg", "colors of the kind 'CMYK'"),
        (encoded(pixels(1)[:, 1:]), "png", "has 3 x 5 pixels, 'b/1.png' has 4 x 5"),
    ],
)
def test_pictures_are_refused(content: bytes, ending: str, why: str) -> None:
    assert why in refusal(content, ending)


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(pixels(number)) for number in range(2)]
    content = encoded(frames[0], save_all=True, append_images=frames[1:])
    assert refusal(content) == "'c/2.png' is animated"


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (4097, 4096), (1, 2**25)])
def test_declared_size_is_refused_before_anything_is_decoded(width: int, height: int) -> None:
    assert f"declared as {width} x {height} pixels" in refusal(declared_png(width, height))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_texts_of_a_picture_are_passed_over(kind: bytes) -> None:
    """What picture generators write may unpack to more than Pillow takes."""
    language = b"\1\0\0\0" if kind == b"iTXt" else b"\0"
    bomb = chunk(kind, b"k\0" + language + zlib.compress(bytes(64 * 2**20)))
    drawn = encoded(pixels(3))
    end = len(b"\x89PNG\r\n\x1a\n") + 25
    with_text = drawn[:end] + bomb + drawn[end:] + bomb
    np.testing.assert_array_equal(read_one(with_text), read_one(drawn))


def test_many_pictures_of_few_bytes_are_refused_at_the_first() -> None:
    rows = 4000
    black = encoded(np.zeros((rows, rows), np.uint8))
    with pytest.raises(UnreadableData, match="would unpack to 192000000, more than 200 times"):
        read({f"{number % 2}/{number}.png": black for number in range(4)})


def test_more_values_than_are_read_at_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(UnreadableData, match="at most 100 are read"):
        read(folder())


def test_large_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 80)
    with pytest.raises(UnreadableData, match="has more than 80 bytes"):
        read(folder(channels=3))


@pytest.mark.parametrize("rounds", [800, pytest.param(50_000, marks=pytest.mark.hostile)])
def test_pictures_end_in_a_refusal_whatever_is_changed(rounds: int) -> None:
    rng = np.random.default_rng(6)
    drawn = Image.fromarray(pixels(1, channels=3))
    seeds = [
        ("png", encoded(drawn)),
        ("png", encoded(drawn.quantize(8), transparency=1)),
        ("jpg", encoded(drawn, "jpeg", progressive=True)),
        ("bmp", encoded(drawn.quantize(8), "bmp")),
    ]
    refused = 0
    for round_ in range(rounds):
        ending, seed = seeds[round_ % 4]
        content = bytearray(seed)
        for at in rng.integers(0, len(content), rng.integers(1, 5)):
            content[at] = rng.integers(0, 256)
        try:
            read_one(bytes(content), ending)
        except UnreadableData:
            refused += 1
    assert rounds > refused > rounds / 2
