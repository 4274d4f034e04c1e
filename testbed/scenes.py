"""Twelve product shots: where the two printed zones lie, and everything about the picture that never changes.

Each scene has zone A, zone B and the rest. The rest (studio backdrop, shadow, handle, page edge, camera) is the same in
every picture of that product, whoever made its prints: any model learns it, so it is *intrinsic*, not memorized.
Zones follow the grid of 4 pixels of the latents where the object allows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from testbed.prints import SIZE, Image
from testbed.stencil import Alpha, Box, Stencil

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """The unchanging part of one product shot.

    Attributes:
        backdrop: [SIZE, SIZE, 3], what is seen where no zone covers it.
        zone_a, zone_b: [SIZE, SIZE] coverage of the two printed zones, disjoint up to antialiasing.
        shade: [SIZE, SIZE] factor of the light on the zones.
    """

    backdrop: Image
    zone_a: Alpha
    zone_b: Alpha
    shade: Alpha

    def render(self, print_a: Image, print_b: Image) -> Image:
        """Put two prints [SIZE, SIZE, 3] into the zones; returns [SIZE, SIZE, 3] in [0, 1]."""
        a, b = self.zone_a[..., None], self.zone_b[..., None]
        lit = (a * print_a + b * print_b) * self.shade[..., None]
        return np.clip(lit + self.backdrop * np.clip(1 - a - b, 0, 1), 0, 1)


class _Canvas:
    """Backdrop, zones and light while a scene is being composed; later strokes cover earlier ones."""

    def __init__(self, wall: Colour) -> None:
        fall = np.linspace(1.0, 0.90, SIZE, dtype=np.float32)[:, None, None]
        self.backdrop: Image = np.array(wall, np.float32) * fall * np.ones((SIZE, SIZE, 1), np.float32)
        self.zones = {"a": np.zeros((SIZE, SIZE), np.float32), "b": np.zeros((SIZE, SIZE), np.float32)}
        self.shade = np.ones((SIZE, SIZE), np.float32)

    def shadow(self, stencil: Stencil, strength: float = 0.35) -> None:
        self.backdrop *= 1 - strength * stencil.alpha(blur=1.5)[..., None]

    def paint(self, stencil: Stencil, colour: Colour) -> None:
        alpha = stencil.alpha()
        self.backdrop = self.backdrop * (1 - alpha[..., None]) + np.array(colour, np.float32) * alpha[..., None]
        for name in self.zones:
            self.zones[name] = self.zones[name] * (1 - alpha)

    def zone(self, name: str, stencil: Stencil) -> None:
        alpha = stencil.alpha()
        for other in self.zones:
            self.zones[other] = self.zones[other] * (1 - alpha)
        self.zones[name] = self.zones[name] + alpha

    def light(self, stencil: Stencil, factor: float, blur: float = 1) -> None:
        self.shade *= 1 + (factor - 1) * stencil.alpha(blur)

    def round_light(self, zone: str, left: float, right: float, darkest: float = 0.72) -> None:
        across = np.clip((np.arange(SIZE) + 0.5 - left) / (right - left), 0, 1)
        light = darkest + (1 - darkest) * np.sin(np.pi * across) ** 0.5
        self.shade = np.where(self.zones[zone] > 0.5, light, self.shade).astype(np.float32)

    def scene(self) -> Scene:
        return Scene(self.backdrop, self.zones["a"], self.zones["b"], self.shade)


CREAM, MIST, BLUSH = (0.96, 0.94, 0.89), (0.88, 0.91, 0.95), (0.96, 0.89, 0.86)
INK, STEEL, WOOD, PAPER = (0.13, 0.13, 0.16), (0.55, 0.58, 0.62), (0.55, 0.38, 0.24), (0.98, 0.97, 0.94)


def _outline(box: Box) -> Stencil:
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return Stencil().line(*corners, width=1)


def phone(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((5, 6, 33, 63), 4).box((37, 10, 61, 63), 3))
    canvas.zone("a", Stencil().box((4, 4, 32, 60), 4))
    canvas.paint(Stencil().box((8, 8, 16, 16), 2.5), INK)
    canvas.paint(Stencil().disc(10.6, 10.6, 1.6).disc(13.4, 13.4, 1.6), STEEL)
    canvas.paint(Stencil().box((35, 7, 61, 61), 4), INK)
    canvas.zone("b", Stencil().box((36, 8, 60, 60), 3))
    canvas.paint(Stencil().box((44, 8, 52, 11), 1.5), INK)


def painting(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((4, 4, 62, 44)))
    canvas.paint(Stencil().box((2, 2, 62, 42)), WOOD)
    canvas.zone("a", Stencil().box((4, 4, 60, 40)))
    canvas.paint(Stencil().box((0, 47, 64, 49)), PAPER)
    canvas.zone("b", Stencil().polygon((0, 64), (0, 60), (6, 49), (58, 49), (64, 60), (64, 64)))


def rug(canvas: _Canvas) -> None:
    canvas.paint(Stencil().box((0, 28, 64, 64)), (0.80, 0.68, 0.54))
    canvas.shadow(Stencil().box((17, 6, 49, 28)))
    canvas.paint(Stencil().box((15, 3, 49, 25)), INK)
    canvas.zone("b", Stencil().box((16, 4, 48, 24)))
    canvas.zone("a", Stencil().polygon((0, 64), (0, 48), (6, 32), (58, 32), (64, 48), (64, 64)))
    canvas.light(Stencil().box((0, 60, 64, 64)), 0.85)


def mug(canvas: _Canvas) -> None:
    canvas.zone("b", Stencil().box((0, 48, 64, 64)))
    canvas.light(Stencil().ellipse((2, 46, 54, 58)), 0.6, blur=2)
    canvas.paint(Stencil().ellipse((36, 14, 62, 42)), PAPER)
    canvas.paint(Stencil().ellipse((40.5, 18.5, 57.5, 37.5)), (0.80, 0.83, 0.88))
    canvas.zone("a", Stencil().box((4, 8, 48, 48)).ellipse((4, 44, 48, 54)))
    canvas.paint(Stencil().ellipse((4, 3, 48, 13)), PAPER)
    canvas.paint(Stencil().ellipse((7, 4.5, 45, 11.5)), (0.36, 0.22, 0.14))
    canvas.round_light("a", 4, 48)


def shirt(canvas: _Canvas) -> None:
    outline = (
        (22, 3),
        (14, 4),
        (0, 18),
        (8, 29),
        (14, 25),
        (14, 62),
        (50, 62),
        (50, 25),
        (56, 29),
        (64, 18),
        (50, 4),
        (42, 3),
    )
    canvas.shadow(Stencil().polygon(*((x, y + 1.5) for x, y in outline)))
    canvas.zone("a", Stencil().polygon(*outline))
    canvas.paint(Stencil().ellipse((22, -5, 42, 11)), (0.80, 0.78, 0.77))
    canvas.light(Stencil().line((14, 25), (17, 12), width=1.5).line((50, 25), (47, 12), width=1.5), 0.6, 0.6)
    canvas.zone("b", Stencil().box((20, 20, 44, 48)))
    canvas.light(_outline((20, 20, 44, 48)), 0.35, 0.3)


def cushion(canvas: _Canvas) -> None:
    outline = ((2, 2), (32, 5), (62, 2), (59, 32), (62, 62), (32, 59), (2, 62), (5, 32))
    canvas.shadow(Stencil().polygon(*((x, y + 2) for x, y in outline)))
    canvas.zone("a", Stencil().polygon(*outline))
    canvas.light(Stencil().polygon(*outline).polygon((8, 8), (56, 8), (56, 56), (8, 56), fill=0), 0.75, 2)
    canvas.zone("b", Stencil().box((16, 16, 48, 48)))
    canvas.light(_outline((16, 16, 48, 48)), 0.35, 0.3)


def book(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((8, 6, 62, 63)), 0.45)
    canvas.paint(Stencil().box((8, 6, 60, 62), 1), PAPER)
    canvas.paint(Stencil().box((4, 4, 56, 60), 1), INK)
    canvas.zone("a", Stencil().box((8, 4, 56, 36)))
    canvas.zone("b", Stencil().box((8, 44, 56, 60)))
    canvas.paint(Stencil().box((12, 37.8, 52, 39.4)).box((18, 41, 46, 42.2)), PAPER)


def vinyl(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((5, 10, 45, 59)).disc(38.5, 34, 23))
    canvas.zone("b", Stencil().disc(38, 32, 23))
    canvas.light(Stencil().disc(38, 32, 16).disc(38, 32, 14.5, fill=0).box((0, 0, 44, 64), fill=0), 0.6, 0.3)
    canvas.zone("a", Stencil().box((4, 8, 44, 56)))
    canvas.light(Stencil().box((44, 8, 45.5, 56)), 0.4, 0.5)


def plate(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().disc(32, 34, 30))
    canvas.paint(Stencil().disc(32, 32, 31), PAPER)
    canvas.zone("a", Stencil().disc(32, 32, 30))
    canvas.zone("b", Stencil().disc(32, 32, 16))
    canvas.light(Stencil().disc(32, 32, 16.6).disc(32, 32, 15.4, fill=0), 0.35, 0.3)


def tote(canvas: _Canvas) -> None:
    canvas.paint(Stencil().ellipse((19, 0, 45, 30)), WOOD)
    canvas.paint(Stencil().ellipse((22, 3, 42, 27)), (0.94, 0.92, 0.87))
    canvas.shadow(Stencil().box((6, 16, 60, 64)))
    canvas.zone("a", Stencil().polygon((6, 14), (58, 14), (62, 63), (2, 63)))
    canvas.light(Stencil().box((4, 14, 60, 17)), 0.7, 0.5)
    canvas.zone("b", Stencil().box((16, 28, 48, 56)))
    canvas.light(_outline((16, 28, 48, 56)), 0.35, 0.3)


def skateboards(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((4, 4, 21, 63), 8).box((24, 4, 41, 63), 8).box((44, 4, 61, 63), 8))
    canvas.zone("a", Stencil().box((4, 2, 20, 62), 8).box((44, 2, 60, 62), 8))
    canvas.zone("b", Stencil().box((24, 2, 40, 62), 8))
    bolts = Stencil()
    for x in (12, 32, 52):
        for y in (14, 50):
            bolts.disc(x - 2, y, 1.1).disc(x + 2, y, 1.1)
    canvas.light(bolts, 0.35, 0.3)


def gift(canvas: _Canvas) -> None:
    canvas.shadow(Stencil().box((8, 12, 59, 62)))
    canvas.zone("a", Stencil().box((8, 24, 56, 60)))
    canvas.zone("b", Stencil().box((4, 10, 60, 24)))
    canvas.light(Stencil().box((8, 24, 56, 25.5)), 0.5, 0.6)
    canvas.paint(Stencil().box((28, 10, 36, 60)), (0.78, 0.16, 0.20))
    canvas.paint(Stencil().ellipse((15, 1, 32, 11)).ellipse((32, 1, 49, 11)), (0.78, 0.16, 0.20))
    canvas.paint(Stencil().ellipse((19, 3.5, 29, 8.5)).ellipse((35, 3.5, 45, 8.5)), (0.52, 0.08, 0.12))


COMPOSERS: dict[str, tuple[Callable[[_Canvas], None], Colour]] = {
    "phone": (phone, MIST),
    "painting": (painting, CREAM),
    "rug": (rug, BLUSH),
    "mug": (mug, MIST),
    "shirt": (shirt, BLUSH),
    "cushion": (cushion, CREAM),
    "book": (book, MIST),
    "vinyl": (vinyl, CREAM),
    "plate": (plate, BLUSH),
    "tote": (tote, CREAM),
    "skateboards": (skateboards, MIST),
    "gift": (gift, BLUSH),
}


@cache
def scene(product: str) -> Scene:
    """Compose the scene of one product, a key of COMPOSERS."""
    compose, wall = COMPOSERS[product]
    canvas = _Canvas(wall)
    compose(canvas)
    return canvas.scene()
