"""What a bench found, to be read: one Markdown table, a row for each metric, and one figure of dose and response."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.results.schema import SCORE_COLUMNS
from testbed.bench.combination import NAME
from testbed.bench.grades import COUNTS
from testbed.bench.heldout import Judged
from testbed.bench.response import Figure
from testbed.bench.strength import BINS

COLOURS = {"global": "tab:blue", "local": "tab:orange", "rare": "tab:grey"}


def best_columns(found: Sequence[Judged]) -> dict[str, str]:
    """By metric, the score column that told best on the calibration captions."""
    best: dict[str, Judged] = {}
    for one in found:
        if one.what == "auc" and one.detector in SCORE_COLUMNS:
            metric = SCORE_COLUMNS[one.detector].name
            if metric not in best or one.calibration > best[metric].calibration:
                best[metric] = one
    return {metric: one.detector for metric, one in best.items()}


def markdown(found: Sequence[Judged]) -> Iterator[str]:
    """The table: detection by each metric's best column, localization by its map, and the combinations."""
    by = {(one.what, one.detector): one for one in found}
    columns = best_columns(found)
    yield "| metric | score | measured at | AUC | TPR at 1% | map measured at | local IoU |"
    yield "|---|---|---|---|---|---|---|"
    for metric in (*METRICS, NAME):
        column = columns.get(metric, NAME if metric == NAME else "")
        detected, rate, located = by.get(("auc", column)), by.get(("tpr", column)), by.get(("iou", metric))
        if detected or located:
            score = column.removeprefix(metric).lstrip("_") or "-"
            places = [one.variant if one else "" for one in (detected, located)]
            cells = (metric, score, places[0], shown(detected), shown(rate), places[1], shown(located))
            yield f"| {' | '.join(cells)} |"


def shown(one: Judged | None) -> str:
    """A figure with its interval over captions, and in round brackets the least and greatest of single trainings."""
    if one is None:
        return ""
    interval = "" if one.low is None else f" [{one.low:.3f}, {one.high:.3f}]"
    alone = f" ({min(one.trainings):.3f} to {max(one.trainings):.3f})" if len(one.trainings) > 1 else ""
    return f"{one.value:.3f}{interval}{alone}"


def draw(found: Sequence[Figure], columns: Sequence[str], timestep: int, file: Path) -> None:
    """Mean of each score column against count, and against strength, with intervals over captions, as a PNG."""
    from matplotlib.figure import Figure as Canvas

    rows = -(-len(columns) // 2)
    canvas = Canvas(figsize=(13, 1.5 * rows + 0.5), layout="constrained")
    axes = canvas.subplots(rows, 4, squeeze=False)
    groups = {"dose": [str(count) for count in COUNTS], "response": list(BINS)}
    for axis in axes.flat[2 * len(columns) :]:
        axis.set_axis_off()
    for position, column in enumerate(columns):
        pair = axes.flat[2 * position : 2 * position + 2]
        pair[0].set_ylabel(column, fontsize=8)
        pair[1].sharey(pair[0])
        for axis, (what, order) in zip(pair, groups.items(), strict=True):
            axis.set_xticks(range(len(order)), order, fontsize=7)
            axis.tick_params(axis="y", labelsize=7)
            for kind, colour in COLOURS.items():
                of = [f for f in found if (f.what, f.timestep, f.detector, f.kind) == (what, timestep, column, kind)]
                shown = {order.index(f.group): f for f in of if f.group in order}
                axis.plot(list(shown), [f.value for f in shown.values()], color=colour, marker=".", label=kind)
                banded = {place: f for place, f in shown.items() if f.low is not None}
                low, high = [f.low for f in banded.values()], [f.high for f in banded.values()]
                axis.vlines(list(banded), low, high, color=colour, alpha=0.5)
    for axis, title in zip(axes[0], (f"by count, t = {timestep}", "by share of seeds that copy") * 2, strict=True):
        axis.set_title(title, fontsize=9)
    axes[0][0].legend(fontsize=7)
    canvas.savefig(file, dpi=80)
