"""Geometry of the page's two charts, in the units of their SVG: the template draws it, and says it in words."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.detection import Detection
from memscan.scanner.report.histogram import BINS, CLEAN_PROMPTS, Axis

WIDTH, HEIGHT = 640, 200
SIDE = 260


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar from (x, y) down to the axis, `height` tall; `says` names what it counts."""

    x: float
    y: float
    height: float
    says: str


Series = tuple[str, int, tuple[Bar, ...]]
"""Name, how many it counts, and bars."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Bars of each series, ticks of both axes as (place, text), and the place of the threshold if there is one.

    `clean` is the series of a calibration's clean prompts, which are none of the run's, if it is drawn beside them.
    """

    series: tuple[Series, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    threshold: float | None
    clean: Series | None = None
    bar: float = WIDTH / BINS - 1


def histogram_chart(
    counts: Mapping[str, NDArray[np.int64]],
    axis: Axis,
    threshold: float | None,
    clean: NDArray[np.int64] | None = None,
) -> Chart:
    """The chart of counts [BINS] by series; heights are logarithms of 1 + count, so that one image is seen.

    Args:
        clean: counts [BINS] of clean prompts.
    """
    beside = {} if clean is None else {CLEAN_PROMPTS: clean}
    most = max(int(counted.max()) for counted in (*counts.values(), *beside.values()))
    tallest = math.log10(1 + most)
    decades = [10**power for power in range(int(math.log10(most)) + 1)]
    marks = [*(count for count in decades if 2 * count <= most), most]

    def drawn(name: str, counted: NDArray[np.int64]) -> Series:
        bars = []
        for place in np.flatnonzero(counted):
            height = HEIGHT * math.log10(1 + int(counted[place])) / tallest
            bars.append(Bar(_round(place * WIDTH / BINS), _round(HEIGHT - height), _round(height), f"{counted[place]}"))
        return name, int(counted.sum()), tuple(bars)

    low, middle, high = axis.ticks()
    marked = None if threshold is None else _round(float(axis.places(threshold)) * WIDTH)
    return Chart(
        series=tuple(drawn(name, counted) for name, counted in counts.items()),
        clean=None if clean is None else drawn(CLEAN_PROMPTS, clean),
        across=((0, f"{low:.3g}"), (WIDTH / 2, f"{middle:.3g}"), (WIDTH, f"{high:.3g}")),
        up=tuple((_round(HEIGHT * (1 - math.log10(1 + count) / tallest)), f"{count:,}") for count in marks),
        threshold=marked,
    )


def roc_path(found: Detection) -> str:
    """The curve as the path of an SVG of SIDE x SIDE, from the lower left to the upper right, to a tenth of a unit."""
    corners = found.roc.corners()
    points = zip(corners.fpr.tolist(), corners.tpr.tolist(), strict=True)
    return "M" + "L".join(dict.fromkeys(f"{x * SIDE:.1f} {SIDE * (1 - y):.1f}" for x, y in points))


def _round(value: float) -> float:
    return round(float(value), 2)
