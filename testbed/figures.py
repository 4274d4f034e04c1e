"""Twelve silhouettes for the posters, as plain outlines in a frame of 64 by 64.

A figure is a tuple of parts; a part is an outline and whether it is filled or cut out. Ovals are outlines too.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """One closed outline; `cut` removes it from what lies below."""

    points: tuple[tuple[float, float], ...]
    cut: bool = False


def _shape(*points: tuple[float, float], cut: bool = False) -> Part:
    return Part(points, cut)


def _oval(x: float, y: float, rx: float, ry: float, cut: bool = False) -> Part:
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return Part(tuple((x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles), cut)


FIGURES: dict[str, tuple[Part, ...]] = {
    "lighthouse": (
        _shape((24, 62), (27, 22), (37, 22), (40, 62)),
        _shape((24, 22), (24, 18), (40, 18), (40, 22)),
        _shape((27, 18), (27, 9), (37, 9), (37, 18)),
        _shape((25, 9), (32, 2), (39, 9)),
        _shape((27, 13), (2, 4), (2, 16)),
        _shape((37, 13), (62, 4), (62, 16)),
    ),
    "sailboat": (
        _shape((6, 46), (58, 46), (48, 60), (16, 60)),
        _shape((30, 43), (30, 4), (6, 43)),
        _shape((33, 43), (33, 10), (56, 43)),
    ),
    "owl": (
        _oval(32, 38, 19, 24),
        _oval(32, 20, 18, 15),
        _shape((14, 16), (15, 2), (27, 9)),
        _shape((50, 16), (49, 2), (37, 9)),
        _oval(25, 20, 6, 6, cut=True),
        _oval(39, 20, 6, 6, cut=True),
        _oval(25, 20, 2.5, 2.5),
        _oval(39, 20, 2.5, 2.5),
    ),
    "fox": (
        _shape((6, 4), (24, 18), (40, 18), (58, 4), (56, 32), (32, 60), (8, 32)),
        _oval(22, 31, 3.5, 3, cut=True),
        _oval(42, 31, 3.5, 3, cut=True),
        _shape((28, 50), (36, 50), (32, 56), cut=True),
    ),
    "rocket": (
        _shape((32, 2), (42, 16), (43, 46), (21, 46), (22, 16)),
        _shape((22, 32), (22, 48), (10, 56), (12, 42)),
        _shape((42, 32), (42, 48), (54, 56), (52, 42)),
        _shape((25, 48), (39, 48), (32, 63)),
        _oval(32, 22, 5.5, 5.5, cut=True),
    ),
    "castle": (
        _shape((6, 60), (6, 20), (20, 20), (20, 34), (44, 34), (44, 20), (58, 20), (58, 60)),
        _shape((3, 21), (13, 4), (23, 21)),
        _shape((41, 21), (51, 4), (61, 21)),
        _shape((25, 34), (25, 22), (29, 22), (29, 26), (35, 26), (35, 22), (39, 22), (39, 34)),
        _shape((26, 60), (26, 49), (32, 43), (38, 49), (38, 60), cut=True),
    ),
    "tree": (
        _shape((28, 62), (28, 40), (36, 40), (36, 62)),
        _oval(32, 16, 16, 14),
        _oval(19, 30, 14, 13),
        _oval(45, 30, 14, 13),
    ),
    "fish": (
        _oval(28, 32, 24, 15),
        _shape((46, 32), (62, 16), (62, 48)),
        _shape((22, 18), (36, 8), (40, 22)),
        _oval(15, 28, 3.5, 3.5, cut=True),
    ),
    "cat": (
        _oval(30, 45, 17, 18),
        _oval(30, 20, 14, 12),
        _shape((17, 18), (16, 2), (28, 10)),
        _shape((43, 18), (44, 2), (32, 10)),
        _shape((42, 54), (56, 46), (54, 28), (61, 28), (62, 50), (46, 62)),
        _oval(25, 19, 2.6, 3, cut=True),
        _oval(35, 19, 2.6, 3, cut=True),
    ),
    "balloon": (
        _oval(32, 22, 21, 20),
        _shape((15, 33), (49, 33), (37, 50), (27, 50)),
        _shape((26, 53), (38, 53), (37, 62), (27, 62)),
    ),
    "butterfly": (
        _oval(17, 21, 14, 16),
        _oval(47, 21, 14, 16),
        _oval(20, 46, 11, 12),
        _oval(44, 46, 11, 12),
        _oval(32, 34, 3.5, 22),
        _oval(17, 20, 5, 6, cut=True),
        _oval(47, 20, 5, 6, cut=True),
    ),
    "mountain": (
        _shape((0, 62), (24, 8), (38, 38), (46, 26), (64, 62)),
        _shape((24, 8), (18, 21), (23, 18), (27, 22), (30, 21), cut=True),
        _oval(52, 11, 8, 8),
    ),
}
