"""Antialiased shapes: drawn on a fine grid, and averaged down to coverage."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from testbed.prints import SIZE

FINE = 8  # fine pixels per pixel, along each side

Alpha = NDArray[np.float32]  # [SIZE, SIZE] in [0, 1]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Stencil:
    """An antialiased shape, drawn in pixels of the final picture."""

    def __init__(self) -> None:
        self._fine = Pillow.new("L", (SIZE * FINE, SIZE * FINE))
        self._draw = ImageDraw.Draw(self._fine)

    def box(self, box: Box, radius: float = 0, fill: int = 255) -> "Stencil":
        left, top, right, bottom = (round(edge * FINE) for edge in box)
        self._draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius * FINE, fill=fill)
        return self

    def disc(self, x: float, y: float, radius: float, fill: int = 255) -> "Stencil":
        return self.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def ellipse(self, box: Box, fill: int = 255) -> "Stencil":
        self._draw.ellipse(tuple(round(edge * FINE) for edge in box), fill=fill)
        return self

    def polygon(self, *points: tuple[float, float], fill: int = 255) -> "Stencil":
        self._draw.polygon([(round(x * FINE), round(y * FINE)) for x, y in points], fill=fill)
        return self

    def line(self, *points: tuple[float, float], width: float, fill: int = 255) -> "Stencil":
        self._draw.line([(round(x * FINE), round(y * FINE)) for x, y in points], fill, round(width * FINE), "curve")
        return self

    def alpha(self, blur: float = 0) -> Alpha:
        fine = self._fine.filter(ImageFilter.GaussianBlur(blur * FINE)) if blur else self._fine
        blocks = np.asarray(fine, dtype=np.float32).reshape(SIZE, FINE, SIZE, FINE)
        return blocks.mean(axis=(1, 3)) / 255
