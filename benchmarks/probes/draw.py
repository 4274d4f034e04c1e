"""The figure: local IoU and error against forward passes beyond sampling."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper import figure as figures
from benchmarks.probes.counts import Counted, reference_line

LOST = 0.01
"""IoU that may be lost."""
_COLOURS = {
    ("exact", "hadamard"): figures.BLUE,
    ("exact", "lattice"): figures.GREEN,
    ("shallow", "hadamard"): figures.ORANGE,
    ("shallow", "lattice"): figures.RED,
    ("shallow", "random"): figures.GREY,
}


def draw(found: Sequence[Counted], path: Path) -> None:
    """Write the figure of a table of counts."""
    figure, axes_of = figures.new_figure(8.4, 3.1, [["iou", "error"]])
    for key, colour in _COLOURS.items():
        line = [one for one in found if (one.derivative, one.kind) == key]
        passes = [one.passes for one in line]
        label = ", ".join(key)
        axes_of["iou"].plot(passes, [one.judged.iou for one in line], "o-", color=colour, label=label)
        low, high = zip(*(one.judged.interval for one in line), strict=True)
        axes_of["iou"].fill_between(passes, low, high, color=colour, alpha=0.12, linewidth=0)
        shown = [one for one in line if one.judged.rest > 0]
        axes_of["error"].plot(
            [one.passes for one in shown], [one.judged.rest for one in shown], "o-", color=colour, label=label
        )
    base = reference_line(found).judged.iou
    axes_of["iou"].axhline(base - LOST, color=figures.BLACK, linewidth=1, linestyle="--")
    axes_of["iou"].annotate("0.01 below the reference", (0.02, base - LOST), xycoords=("axes fraction", "data"),
                            xytext=(0, -9), textcoords="offset points", fontsize=7, color=figures.BLACK)  # fmt: skip
    axes_of["iou"].set(title="local IoU of dh_uncond, held-out captions")
    axes_of["error"].set(title="error of the map after the best factor", yscale="log")
    for axes in axes_of.values():
        axes.axvline(3, color=figures.BLACK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="forward passes beyond sampling, prompt and none together", xscale="log")
        axes.legend()
    figures.save(figure, path)
