"""The figure: local IoU and error against forward passes beyond sampling, prompt and none together."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

from benchmarks.probes.counts import Counted, reference_line
from testbed import plots as figures

LOST, PASSES = 0.01, 3
"""IoU that may be lost, and forward passes that may be spent."""
_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.4)
_COLOURS = {
    ("exact", "hadamard"): figures.BLUE,
    ("exact", "lattice"): figures.GREEN,
    ("shallow", "hadamard"): figures.ORANGE,
    ("shallow", "lattice"): figures.RED,
    ("shallow", "random"): figures.GREY,
}


def draw(found: Sequence[Counted], path: Path) -> None:
    """Write the figure of a table of counts: IoU less that of the reference with paired intervals, and error."""
    figure, axes_of = figures.new_figure(8.4, 3.1, [["iou", "error"]])
    base = reference_line(found).judged
    for key, colour in _COLOURS.items():
        line = [one for one in found if (one.derivative, one.kind) == key]
        label = ", ".join(key)
        for one in line:
            axes_of["iou"].plot([one.passes] * 2, one.judged.less(base)[1], color=colour, linewidth=1)
        values = {"iou": [one.judged.less(base)[0] for one in line], "error": [one.judged.rest or None for one in line]}
        for name, axes in axes_of.items():
            axes.plot([one.passes for one in line], values[name], "o-", color=colour, label=label, markersize=4)
    axes_of["iou"].axhline(-LOST, color=figures.BLACK, linewidth=1, linestyle="--")
    axes_of["iou"].set(title="local IoU less that of 64 exact probes")
    axes_of["error"].set(title="error of the map after the best factor", yscale="log")
    axes_of["error"].set_yticks(_ERRORS)
    axes_of["error"].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes_of["error"].yaxis.set_minor_formatter(NullFormatter())
    for axes in axes_of.values():
        axes.axvline(PASSES, color=figures.BLACK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="forward passes beyond sampling", xscale="log", xlim=(0.5, 200))
        axes.xaxis.set_major_formatter(ScalarFormatter())
    axes_of["iou"].legend(loc="lower right")
    figures.save(figure, path)
