"""The look of all figures, and their files: PNGs of 256 colours, small enough to live beside the text."""

import io
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

FIGURES = Path("docs/figures")
LIMIT = 60_000
"""Bytes of a figure's file at most."""
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#8c8c8c", "#222222"
HEAT = "inferno"

_DPI = 110
_COLOURS = 256
_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}


def new_figure(width: float, height: float, mosaic: list[list[str]], **options: Any) -> tuple[Figure, dict[str, Axes]]:
    """A figure in inches, and its axes by their names in the mosaic; options are those of `subplot_mosaic`."""
    rcParams.update(_STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplot_mosaic(mosaic, **options)


def show_map(axes: Axes, values: NDArray[Any], title: str = "", **options: Any) -> AxesImage:
    """Show a map or a picture without ticks; options are those of `imshow`."""
    image = axes.imshow(values, **options)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return image


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours.

    Raises:
        ValueError: its file would be greater than `LIMIT`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    content = io.BytesIO()
    image = Image.open(buffer).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    if len(content.getvalue()) > LIMIT:
        raise ValueError(f"{path}: the figure has {len(content.getvalue())} bytes, at most {LIMIT} are allowed")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())
