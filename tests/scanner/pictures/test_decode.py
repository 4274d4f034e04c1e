"""Each kind of pixel against the values that it stands for, computed here."""

import io
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.errors import RowError
from memscan.scanner.pictures.decode import decode_picture
from tests.scanner.pictures.raw_files import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, png, tiff

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:PIL\.")  # as `decode` says; pytest has filters of its own

SIZE = (6, 8)  # H, W: what is turned differs in shape
WORDS = np.random.default_rng(0).integers(0, 1 << 16, (*SIZE, 4), np.uint16)
BYTES = np.random.default_rng(1).integers(0, 256, (*SIZE, 4), np.uint8)
GREYS = BYTES[..., 0]
UNIT = (WORDS[..., 0] / 65535).astype(np.float32)

HALF, ONE_UP = 0.5, 1.0
"""Bounds in 8-bit steps: of a value that is rounded once; of one that is cut to a byte, or rounded twice."""


def decoded(encoded: bytes) -> NDArray[np.uint8]:
    picture = decode_picture(encoded)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def grey(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(values[..., None], 3, axis=-1)


def on_white(colours: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours [H, W, 3] of 0 to 255 with alpha [H, W] of 0 to 1."""
    return colours * alpha[..., None] + 255 * (1 - alpha[..., None])


def inkless(cmyk: NDArray[np.uint8]) -> NDArray[np.float64]:
    return (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255


def from_ycbcr(ycc: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R BT.601, full range, as in JFIF."""
    y, cb, cr = ycc[..., 0], ycc[..., 1] - 128.0, ycc[..., 2] - 128.0
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(rgb, 0, 255)


def of_palette() -> tuple[Image.Image, NDArray[np.uint8]]:
    """A picture of 16 colours, and its colours [H, W, 3]."""
    table = np.random.default_rng(2).integers(0, 256, (16, 3), np.uint8)
    picture = Image.fromarray(GREYS % 16, "L")
    picture.putpalette(table.tobytes())
    return picture, table[GREYS % 16]


PALETTED, COLOURS = of_palette()
ALPHAS = np.linspace(0, 255, 16).astype(np.uint8)
BINARY = GREYS > 127


@pytest.mark.parametrize(
    ("encoded", "expected", "within"),
    [
        pytest.param(png(GREYS, GREY), grey(GREYS), 0, id="grey"),
        pytest.param(png(BYTES[..., :3].copy(), RGB), BYTES[..., :3], 0, id="RGB"),
        pytest.param(png(WORDS[..., 0].copy(), GREY), grey(WORDS[..., 0] / 257), HALF, id="16-bit grey PNG"),
        pytest.param(png(WORDS[..., :3].copy(), RGB), WORDS[..., :3] / 257, ONE_UP, id="16-bit RGB PNG"),
        pytest.param(
            png(WORDS, RGB_ALPHA), on_white(WORDS[..., :3] / 257, WORDS[..., 3] / 65535), 2, id="16-bit RGBA PNG"
        ),  # colour and alpha are both cut to bytes
        pytest.param(
            png(WORDS[..., :2].copy(), GREY_ALPHA),
            on_white(grey(WORDS[..., 0] / 257), WORDS[..., 1] / 65535),
            2,
            id="16-bit grey with alpha PNG",
        ),
        pytest.param(
            png(BYTES[..., :2].copy(), GREY_ALPHA), on_white(grey(GREYS), BYTES[..., 1] / 255), ONE_UP, id="LA"
        ),
        pytest.param(png(BYTES, RGB_ALPHA), on_white(BYTES[..., :3], BYTES[..., 3] / 255), ONE_UP, id="RGBA"),
        pytest.param(
            saved(Image.fromarray(BYTES), "WEBP", lossless=True, exact=True),
            on_white(BYTES[..., :3], BYTES[..., 3] / 255),
            ONE_UP,
            id="RGBA WebP",
        ),
        pytest.param(saved(Image.fromarray(BINARY)), grey(BINARY * 255.0), 0, id="1"),
        pytest.param(saved(Image.fromarray(BINARY), "TIFF", compression="group4"), grey(BINARY * 255.0), 0, id="fax"),
        pytest.param(saved(PALETTED), COLOURS, 0, id="P"),
        pytest.param(saved(PALETTED, "GIF"), COLOURS, 0, id="GIF"),
        pytest.param(saved(PALETTED, "BMP"), COLOURS, 0, id="BMP of a palette"),
        pytest.param(
            saved(PALETTED, transparency=ALPHAS.tobytes()),
            on_white(COLOURS, ALPHAS[GREYS % 16] / 255),
            ONE_UP,
            id="P with transparency",
        ),
        pytest.param(
            saved(PALETTED, "GIF", transparency=5),
            np.where((GREYS % 16 == 5)[..., None], 255, COLOURS),
            0,
            id="GIF with transparency",
        ),
        pytest.param(saved(PALETTED.convert("PA"), "TIFF"), COLOURS, 0, id="PA"),
        pytest.param(
            png(GREYS % 16 * 17, GREY, tRNS=(3 * 17).to_bytes(2, "big")),
            grey(np.where(GREYS % 16 == 3, 255, GREYS % 16 * 17)),
            0,
            id="one transparent grey",
        ),
        pytest.param(
            png(WORDS[..., 0].copy(), GREY, tRNS=int(WORDS[2, 3, 0]).to_bytes(2, "big")),
            grey(np.where(WORDS[..., 0] == WORDS[2, 3, 0], 255, WORDS[..., 0] / 257)),
            HALF,
            id="one transparent 16-bit grey",
        ),
        pytest.param(
            png(BYTES[..., :3].copy(), RGB, tRNS=BYTES[1, 2, :3].astype(">u2").tobytes()),
            np.where((BYTES[..., :3] == BYTES[1, 2, :3]).all(axis=-1)[..., None], 255, BYTES[..., :3]),
            0,
            id="one transparent colour",
        ),
        pytest.param(
            saved(Image.fromarray(BINARY), transparency=0), np.full((*SIZE, 3), 255), 0, id="transparent black"
        ),
        pytest.param(saved(Image.fromarray(BYTES, "CMYK"), "TIFF"), inkless(BYTES), ONE_UP, id="CMYK"),
        pytest.param(
            saved(Image.new("CMYK", (8, 6), (10, 200, 90, 40)), "JPEG", quality=100),
            np.broadcast_to(inkless(np.array([10, 200, 90, 40], np.uint8)), (*SIZE, 3)),
            2,  # JPEG is lossy by a step in each of two factors
            id="CMYK JPEG",
        ),
        pytest.param(
            tiff(WORDS.tobytes(), SIZE, bits=[16] * 4, photometric=5),
            inkless(WORDS // 257),
            2,
            id="16-bit CMYK",
        ),
        pytest.param(
            tiff(BYTES[..., :3].tobytes(), SIZE, bits=[8] * 3, photometric=6, t530=1),
            from_ycbcr(BYTES[..., :3]),
            ONE_UP,
            id="YCbCr",
        ),
        pytest.param(
            tiff(WORDS[..., 0].tobytes(), SIZE, bits=[16], photometric=1),
            grey(WORDS[..., 0] / 257),
            HALF,
            id="I;16",
        ),
        pytest.param(
            tiff(WORDS[..., 0].astype(">u2").tobytes(), SIZE, bits=[16], photometric=1, order=">"),
            grey(WORDS[..., 0] / 257),
            HALF,
            id="I;16B",
        ),
        pytest.param(
            saved(Image.fromarray(WORDS[..., 0].copy()), "TIFF", compression="tiff_lzw"),
            grey(WORDS[..., 0] / 257),
            HALF,
            id="I;16 compressed",
        ),
        pytest.param(
            saved(Image.fromarray(WORDS[..., 0].astype(">u2")), "TIFF", compression="tiff_lzw"),
            grey(WORDS[..., 0] / 257),
            HALF,
            id="I;16B compressed",
        ),
        pytest.param(
            tiff(WORDS[..., 0].tobytes(), SIZE, bits=[16], photometric=0),
            grey(255 - WORDS[..., 0] / 257),
            HALF,
            id="16-bit, white is 0",
        ),
        pytest.param(
            tiff(bytes(255 - GREYS.reshape(-1)), SIZE, bits=[8], photometric=0), grey(GREYS), 0, id="8-bit, white is 0"
        ),
        pytest.param(
            tiff(WORDS[..., :3].tobytes(), SIZE, bits=[16] * 3, photometric=2),
            WORDS[..., :3] / 257,
            ONE_UP,
            id="16-bit RGB TIFF",
        ),
        pytest.param(
            tiff(WORDS[..., :3].astype(">u2").tobytes(), SIZE, bits=[16] * 3, photometric=2, order=">"),
            WORDS[..., :3] / 257,
            ONE_UP,
            id="16-bit RGB TIFF, big-endian",
        ),
        pytest.param(
            tiff(BYTES[..., :3].transpose(2, 0, 1).tobytes(), SIZE, bits=[8] * 3, photometric=2, strips=3, t284=2),
            BYTES[..., :3],
            0,
            id="8-bit planes",
        ),
        pytest.param(saved(Image.fromarray(UNIT), "TIFF"), grey(UNIT * 255.0), HALF, id="F"),
        pytest.param(
            tiff(UNIT.tobytes(), SIZE, bits=[32], photometric=0, t339=3),
            grey(255 - UNIT * 255.0),
            HALF,
            id="F, white is 0",
        ),
        pytest.param(
            tiff(UNIT.astype(">f4").tobytes(), SIZE, bits=[32], photometric=1, order=">", t339=3),
            grey(UNIT * 255.0),
            HALF,
            id="F, big-endian",
        ),
    ],
)
def test_pixels_have_the_values_that_they_stand_for(
    encoded: bytes, expected: NDArray[np.float64], within: float
) -> None:
    found = decoded(encoded).astype(np.float64)
    assert found.shape == (*SIZE, 3)
    assert np.abs(found - expected).max() <= within + 1e-4  # the 1e-4 is of float32, where a half is met exactly


def test_12_bits_fill_the_range() -> None:
    values = np.random.default_rng(3).integers(0, 4096, SIZE)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=-1)
    found = decoded(tiff(packed.astype(np.uint8).tobytes(), SIZE, bits=[12], photometric=1))
    assert np.abs(found - grey(values * 255 / 4095)).max() <= HALF


def test_a_16_bit_ramp_equals_its_8_bit_twin_exactly() -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(decoded(png(ramp * 257, GREY)), grey(ramp))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (
            saved(Image.fromarray(WORDS[..., 0].astype(np.int32)), "TIFF"),
            r"image has pixels of a kind \(32-bit integers\) without an agreed range",
        ),
        (
            tiff(WORDS[..., 0].tobytes(), SIZE, bits=[16], photometric=1, t339=2),
            r"image has pixels of a kind \(32-bit integers\)",
        ),
        (
            tiff(GREYS.tobytes(), SIZE, bits=[8], photometric=1, t339=2),
            r"image has pixels of a kind \(signed integers\)",
        ),
        (saved(Image.fromarray(BYTES[..., :3].copy(), "LAB"), "TIFF"), r"image has pixels of a kind \(LAB\)"),
        (
            saved(Image.fromarray(UNIT * 255), "TIFF"),
            "image has floating-point pixels from 2.72374 to 244.981: expected 0 to 1$",
        ),
        (saved(Image.fromarray(UNIT - 0.5), "TIFF"), "image has floating-point pixels from -0.489319 to"),
        (
            saved(Image.fromarray(np.where(UNIT < 0.5, UNIT, np.float32(np.nan))), "TIFF"),
            "image has floating-point pixels from nan to nan",
        ),
        (
            tiff(WORDS[..., :3].transpose(2, 0, 1).tobytes(), SIZE, bits=[16] * 3, photometric=2, strips=3, t284=2),
            "image has separate planes of 16 bits: save it as 8-bit RGB$",
        ),
        (
            png(WORDS[..., :3].copy(), RGB, tRNS=WORDS[0, 0, :3].astype(">u2").tobytes()),
            "image has 16-bit colours of which one is transparent: save it as 8-bit RGB$",
        ),
        (
            tiff(np.repeat(UNIT, 3).tobytes(), SIZE, bits=[32] * 3, photometric=2, t339=3),
            "image cannot be decoded: no PNG, JPEG, WEBP, BMP, GIF or TIFF, or one of a rare kind$",
        ),
    ],
    ids=[
        "I",
        "signed 16",
        "signed 8",
        "Lab",
        "float to 255",
        "float below 0",
        "NaN",
        "planes of 16 bits",
        "transparent 16-bit colour",
        "float RGB",
    ],
)
def test_pixels_without_an_agreed_meaning_are_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(RowError, match=f"^{reason}"):
        decode_picture(encoded)


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a picture is stored whose EXIF orientation is the key."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_is_undone(orientation: int, kind: str) -> None:
    upright = BYTES[..., :3]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decoded(saved(stored, kind, exif=exif, **options)), upright)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(saved(Image.fromarray(GREYS), exif=exif)), grey(GREYS))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x05\0\0\0\x00\x00\x00\x7f",  # text, which begins nowhere
        b"no EXIF at all",
    ],
    ids=["empty", "header alone", "directory nowhere", "garbage", "orientation is text", "other"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_that_cannot_be_read_says_nothing(exif: bytes, kind: str) -> None:
    flat = Image.new("L", (8, 6), 90)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = saved(flat, kind, exif=exif)
    found = decoded(encoded)
    assert found.shape == (*SIZE, 3)
    assert np.abs(found - 90.0).max() <= ONE_UP  # JPEG and WebP are lossy


def test_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        found = decoded(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert (found == (255, 0, 0)).all(), kind


def test_a_palette_png_of_indices_beyond_its_palette_is_no_traceback() -> None:
    encoded = png(GREYS, PALETTE, PLTE=bytes([1, 2, 3]))
    assert decoded(encoded).shape == (*SIZE, 3)
