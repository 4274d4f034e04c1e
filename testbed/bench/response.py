"""Dose and response of every detector, over all captions.

How each score grows with count and with strength, how it tells prompts that are copied in at least half of the seeds
from those that never are, and how local masks agree with the truth by count. Intervals are over captions; with several
trainings a caption counts once for each, where it has another count.
"""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.evaluation.detection import detection
from memscan.scanner.evaluation.overlap import percentile_interval, resampled
from testbed.bench.grades import COUNTS
from testbed.bench.measured import Measured
from testbed.bench.strength import BINS, binned

LOCAL_REPLICATES = 200  # of an IoU, whose best threshold is found anew in each


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number with its 95% interval, None where a single caption leaves nothing to resample.

    `what` is dose (mean score by count), response (mean score by strength), auc, tpr (at 1% false positives) or iou;
    `group` the count, or the bin of strength.
    """

    what: str
    timestep: int
    detector: str
    kind: str
    group: str
    captions: int
    value: float
    low: float | None = None
    high: float | None = None


def mean_by_caption(
    values: NDArray[np.floating], captions: NDArray[np.intp]
) -> tuple[float, float | None, float | None]:
    """Mean over captions of their mean over seeds, and its bootstrap interval."""
    names, group = np.unique(captions, return_inverse=True)
    means = np.bincount(group, values) / np.bincount(group)
    if len(names) < 2:
        return float(means.mean()), None, None
    draws = resampled(len(names), np.random.default_rng(0))
    return float(means.mean()), *percentile_interval(draws @ means / len(names))


def dose(images: Measured, timestep: int) -> Iterator[Figure]:
    """Mean of every score by kind and count; of what is no graded caption, the count is 0."""
    for detector, values in images.scores.items():
        for kind in dict.fromkeys(images.kinds.tolist()):
            for count in (0, *COUNTS):
                chosen = (images.kinds == kind) & (images.counts == count)
                if chosen.any():
                    yield _mean("dose", timestep, detector, kind, str(count), values, images.captions, chosen)


def response(images: Measured, timestep: int) -> Iterator[Figure]:
    """Mean of every score of memorized captions by kind and measured strength."""
    bins = binned(images.strength)
    for detector, values in images.scores.items():
        for kind in ("global", "local"):
            for name in BINS:
                chosen = (images.kinds == kind) & (bins == name)
                if chosen.any():
                    yield _mean("response", timestep, detector, kind, name, values, images.captions, chosen)


def _mean(
    what: str,
    timestep: int,
    detector: str,
    kind: str,
    group: str,
    values: NDArray[np.floating],
    captions: NDArray[np.intp],
    chosen: NDArray[np.bool_],
) -> Figure:
    found = mean_by_caption(values[chosen], captions[chosen])
    return Figure(what, timestep, detector, kind, group, len(np.unique(captions[chosen])), *found)


def telling(images: Measured, timestep: int) -> Iterator[Figure]:
    """AUC, and TPR at 1% false positives: copied in at least half of the seeds against never copying anything."""
    for detector, values in images.scores.items():
        for kind in ("global", "local", "all"):
            positive = images.positive & ((images.kinds == kind) | (kind == "all"))
            chosen = positive | images.negative
            found = detection(values[chosen], positive[chosen], images.captions[chosen])
            if found is None:
                continue
            captions = len(np.unique(images.captions[positive]))
            yield Figure("auc", timestep, detector, kind, "", captions, found.auc, *(found.interval or (None, None)))
            rate = found.rates[0]
            if rate.below is not None:
                yield Figure("tpr", timestep, detector, kind, "", captions, rate.below, rate.low, rate.high)


def agreement(images: Measured, timestep: int) -> Iterator[Figure]:
    """IoU of every map with the truth of local captions by count, at the best threshold of each, and that of ones."""
    counts, captions = images.counts[images.local], images.captions[images.local]
    for name in (*images.maps, "ones"):
        truth = images.truth[name] if name in images.maps else next(iter(images.truth.values()))
        maps = images.maps[name] if name in images.maps else np.ones(truth.shape)
        for count in COUNTS:
            chosen = np.flatnonzero(counts == count)
            names = np.unique(captions[chosen])
            value = best_threshold(maps[chosen], truth[chosen]).iou
            rng = np.random.default_rng(0)
            replicates = []
            for _ in range(LOCAL_REPLICATES if len(names) > 1 else 0):
                drawn = np.concatenate([chosen[captions[chosen] == one] for one in rng.choice(names, len(names))])
                replicates.append(best_threshold(maps[drawn], truth[drawn]).iou)
            interval = percentile_interval(np.array(replicates)) if replicates else (None, None)
            yield Figure("iou", timestep, name, "local", str(count), len(names), value, *interval)


def figures(images: Measured, timestep: int) -> Iterator[Figure]:
    """All figures of some trainings together at one timestep."""
    for part in (dose, response, telling, agreement):
        yield from part(images, timestep)


def write(found: Sequence[Figure], file: Path) -> None:
    """The figures as CSV."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(Figure)])
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in vars(figure).items()} for figure in found
        )


def lines(found: Sequence[Figure], what: str, timestep: int, kind: str) -> Iterator[str]:
    """One table as text: a row for each detector, a column for each group."""
    chosen = [f for f in found if (f.what, f.timestep, f.kind) == (what, timestep, kind)]
    groups = list(dict.fromkeys(figure.group for figure in chosen))
    yield f"{'':<16}" + "".join(f"{group:>8}" for group in groups)
    for detector in dict.fromkeys(figure.detector for figure in chosen):
        by_group = {figure.group: figure for figure in chosen if figure.detector == detector}
        yield f"{detector:<16}" + "".join(f"{by_group[group].value:>8.3f}" for group in groups)


def telling_lines(found: Sequence[Figure], timestep: int, kind: str) -> Iterator[str]:
    """AUC and TPR with their intervals as text."""
    chosen = {(f.what, f.detector): f for f in found if (f.timestep, f.kind) == (timestep, kind)}
    for what, detector in chosen:
        if what == "auc":
            shown = [f"{name} {_shown(chosen.get((name, detector)))}" for name in ("auc", "tpr")]
            yield f"{detector:<16}  {'   '.join(shown)}"


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    interval = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval}"
