"""Pictures that are none, are damaged, or would cost too much: one line of an error, whatever the decoder raises."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from memscan.scanner.errors import RowError
from memscan.scanner.pictures.decode import MAX_PIXELS, decode_picture
from tests.scanner.pictures.raw_files import GREY, png, png_of_chunks, tiff

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:PIL\.")  # as `decode` says; pytest has filters of its own

UNKNOWN = "image cannot be decoded: no PNG, JPEG, WEBP, BMP, GIF or TIFF, or one of a rare kind"
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)


def saved(kind: str, picture: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (picture or Image.fromarray(PIXELS)).save(stream, kind, **options)
    return stream.getvalue()


def refusal(encoded: bytes) -> str:
    with pytest.raises(RowError, match=r"^image ") as caught:
        decode_picture(encoded)
    return str(caught.value)


@pytest.mark.parametrize(
    "encoded", [b"", b"no image at all", b"\0" * 4096, b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_bytes_that_are_no_picture(encoded: bytes) -> None:
    assert refusal(encoded) == UNKNOWN


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "TGA", "ICO", "ICNS", "PCX", "SGI", "JPEG2000", "DDS"])
def test_other_formats_are_closed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow knows all of these; EPS would start Ghostscript."""
    encoded = saved(kind)
    monkeypatch.setattr(subprocess, "check_call", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert refusal(encoded) == UNKNOWN


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_picture_cut_short_is_an_error_not_half_a_picture(kind: str) -> None:
    encoded = saved(kind)
    assert refusal(encoded[: len(encoded) // 2])


@pytest.mark.parametrize(
    "raised",
    [
        struct.error("unpack requires\na buffer of 2 bytes"),
        RuntimeError("broken"),
        NotImplementedError(),
        IndexError("list index out of range"),
        SyntaxError("broken PNG file"),
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        Image.DecompressionBombError("Image size exceeds limit"),
        ZeroDivisionError("division by zero"),
        Exception("x" * 5000),
    ],
    ids=lambda raised: type(raised).__name__,
)
@pytest.mark.parametrize("where", ["open", "load"])
def test_whatever_the_library_raises_is_one_line(
    raised: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise raised

    encoded = png(PIXELS[..., 0].copy(), GREY)
    monkeypatch.setattr(*((Image, "open") if where == "open" else (Image.Image, "convert")), fail)
    said = refusal(encoded)
    reason = " ".join(str(raised).split())[:160] or type(raised).__name__
    assert said == f"image cannot be decoded: {reason}"


def test_an_interrupt_is_no_broken_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode_picture(saved("PNG"))


def header_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, GREY, 0, 0, 0)
    return png_of_chunks({"IHDR": header, "IDAT": zlib.compress(b""), "IEND": b""})


def test_pixels_are_bounded_before_they_are_decoded() -> None:
    assert refusal(header_of(8193, 8192)) == f"image of 8193x8192 is too large: {MAX_PIXELS} pixels at most"
    assert refusal(header_of(12000, 12000)) == f"image of 12000x12000 is too large: {MAX_PIXELS} pixels at most"
    assert "exceeds limit" in refusal(header_of(1 << 30, 1 << 30))
    assert "too large" in refusal(tiff(b"\0" * 16, (1, 1 << 27), bits=[8], photometric=1))


def test_as_many_pixels_as_are_allowed_are_decoded() -> None:
    picture = decode_picture(saved("PNG", Image.new("1", (8192, 8192), 1)))
    assert picture.size == (8192, 8192)
    assert picture.getpixel((8191, 8191)) == (255, 255, 255)


def test_compressed_text_does_not_swell() -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(80 << 20))
    assert (
        refusal(png(PIXELS[..., 0].copy(), GREY, zTXt=bomb))
        == "image cannot be decoded: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_mutated_pictures_are_pictures_or_an_error(kind: str) -> None:
    """300 files with a few bytes altered, dropped or doubled."""
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(kind) if kind in ("BMP", "GIF") else saved(kind, exif=exif)
    dice = np.random.default_rng(5)
    for _ in range(300):
        mutated = bytearray(whole)
        for _ in range(dice.integers(1, 5)):
            start = (
                int(dice.integers(len(mutated))) if dice.random() < 0.5 else int(dice.integers(min(64, len(mutated))))
            )
            stop = start + int(dice.integers(1, 9))
            mutated[start:stop] = (b"", bytes(dice.integers(0, 256, 4, np.uint8)), mutated[start:stop] * 2)[
                dice.integers(3)
            ]
        try:
            assert decode_picture(bytes(mutated)).mode == "RGB"
        except RowError as error:
            assert str(error).startswith("image ")
            assert "\n" not in str(error)


def test_doubts_of_the_library_are_no_lines_on_standard_error() -> None:
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    code = "import sys; from memscan.scanner.pictures import decode as d; d.decode_picture(sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", code], input=saved("PNG", exif=exif), capture_output=True, check=True)
    assert done.stderr == b""
