"""What a bench found, to be read: one Markdown table, a row for each metric, and one figure of dose and response."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.results.schema import SCORE_COLUMNS
from testbed import plots
from testbed.bench.combination import NAME
from testbed.bench.grades import COUNTS
from testbed.bench.heldout import Judged
from testbed.bench.response import Figure
from testbed.bench.strength import BINS

COLOURS = {"global": plots.BLUE, "local": plots.ORANGE, "rare": plots.GREY}
ORDERS = {"dose": [str(count) for count in COUNTS], "response": list(BINS)}
ACROSS = 4  # panels of the figure: two columns of scores, each by count and by strength
EMPTY = "."
DRAWN = 8  # scores at most, the best: a figure of all cannot be read, and the table has the others


def best_columns(found: Sequence[Judged]) -> dict[str, str]:
    """By metric, the score column that told best on the calibration captions; the best metric first."""
    best: dict[str, Judged] = {}
    for one in found:
        if one.what == "auc" and one.detector in SCORE_COLUMNS:
            metric = SCORE_COLUMNS[one.detector].name
            if metric not in best or one.calibration > best[metric].calibration:
                best[metric] = one
    ordered = sorted(best.items(), key=lambda item: item[1].calibration, reverse=True)
    return {metric: one.detector for metric, one in ordered}


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
    names = [f"{what} {column}" for column in columns for what in ORDERS]
    names += [EMPTY] * (-len(names) % ACROSS)
    mosaic = [names[start : start + ACROSS] for start in range(0, len(names), ACROSS)]
    canvas, axes_of = plots.new_figure(9, 0.95 * len(mosaic) + 0.6, mosaic, empty_sentinel=EMPTY)
    for column in columns:
        for what, order in ORDERS.items():
            axes = axes_of[f"{what} {column}"]
            draw_means(axes, [f for f in found if (f.what, f.timestep, f.detector) == (what, timestep, column)], order)
            axes.set_xticks(range(len(order)), [])
            axes.locator_params(axis="y", nbins=3)
        axes_of[f"dose {column}"].set_title(column, loc="left")
        axes_of[f"response {column}"].sharey(axes_of[f"dose {column}"])
    for name in mosaic[-1]:
        if name != EMPTY:
            order = ORDERS[name.split()[0]]
            axes_of[name].set_xticks(range(len(order)), order, rotation=90 if len(order) > len(BINS) else 0)
    canvas.legend(*axes_of[names[0]].get_legend_handles_labels(), loc="outside upper right", ncols=len(COLOURS))
    plots.save(canvas, file)


def draw_means(axes: Axes, found: Sequence[Figure], order: Sequence[str]) -> None:
    """One score's means by kind, in the order of the groups, each with its interval where there is one."""
    for kind, colour in COLOURS.items():
        shown = {order.index(f.group): f for f in found if f.kind == kind and f.group in order}
        axes.plot(list(shown), [f.value for f in shown.values()], color=colour, marker=".", label=kind)
        banded = {place: f for place, f in shown.items() if f.low is not None}
        low, high = [f.low for f in banded.values()], [f.high for f in banded.values()]
        axes.vlines(list(banded), low, high, color=colour, alpha=0.5)
