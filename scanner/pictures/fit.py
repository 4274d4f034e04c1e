"""From a picture of any shape to the shape of a model's images, by one of three rules. All resample bicubically.

crop      what the model's shape does not cover is cut off on two sides, evenly and by whole pixels; then it is scaled
stretch   scaled in both directions by themselves
pad       scaled until it fits inside; the rest is white, as evenly as whole pixels allow
"""

from PIL import Image

from memscan.scanner.settings import Fit

_DONE = {"crop": "cropped", "stretch": "stretched", "pad": "padded"}


def fit_picture(picture: Image.Image, size: tuple[int, int], how: Fit) -> tuple[Image.Image, str]:
    """Fit an RGB picture to `size` (H, W).

    Returns:
        The picture, and what was done to it: "" (it had that size), "resized from 128x96" (it had that shape: width x
        height), or "cropped from ...", "stretched from ...", "padded from ...".
    """
    height, width = size
    if picture.size == (width, height):
        return picture, ""
    wide, high = picture.size
    origin = f"from {wide}x{high}"
    if wide * height == high * width:
        return picture.resize((width, height), Image.Resampling.BICUBIC), f"resized {origin}"
    fitted = {"crop": _cropped, "stretch": _stretched, "pad": _padded}[how](picture, width, height)
    return fitted, f"{_DONE[how]} {origin}"


def _cropped(picture: Image.Image, width: int, height: int) -> Image.Image:
    wide, high = picture.size
    kept_wide = min(wide, max(1, round(high * width / height)))
    kept_high = min(high, max(1, round(wide * height / width)))
    left, top = (wide - kept_wide) // 2, (high - kept_high) // 2
    return _stretched(picture.crop((left, top, left + kept_wide, top + kept_high)), width, height)


def _stretched(picture: Image.Image, width: int, height: int) -> Image.Image:
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _padded(picture: Image.Image, width: int, height: int) -> Image.Image:
    wide, high = picture.size
    scale = min(width / wide, height / high)
    inner = _stretched(picture, max(1, round(wide * scale)), max(1, round(high * scale)))
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas
