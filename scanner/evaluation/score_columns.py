"""Every number that can tell a memorized image from another: what a row of the results holds, and what its maps give.

<map>_mean, _max, _q90, _q99, <score>   columns of the results
<map>_share                             a column, or of results that lack it from maps and the threshold that is
                                        calibrated for them; of the map that makes masks, that of its mask
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.labelled import LabelledStep
from memscan.scanner.results.masks import mask_of
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS, SHARE


def scores(results: Results, step: LabelledStep) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and values [N] of every score that all images of a step have; high values mean memorized."""
    known = set(step.table.column_names)
    for name, metric in SCORE_COLUMNS.items():
        if name in known and step.table[name].null_count == 0:
            yield name, metric.sign * step.table[name].to_numpy().astype(np.float64)
        elif name == f"{metric.name}_{SHARE}":
            shares = _shares(results, step, metric.name)
            if shares is not None:
                yield name, metric.sign * shares


def _shares(results: Results, step: LabelledStep, name: str) -> NDArray[np.float64] | None:
    if name == results.mask_map:
        column = step.table["mask_share"]
        return None if column.null_count else column.to_numpy().astype(np.float64)
    threshold = results.thresholds.get((name, step.timestep))
    if not results.has_maps or threshold is None or name not in step.maps:
        return None
    return np.array([mask_of(one, threshold).mean() for one in step_maps(results, step, name)])


def step_maps(results: Results, step: LabelledStep, name: str) -> NDArray[np.float16]:
    """The map `name` of the images of a step, float16 [N, h, w]; an image that is there several times is read once."""
    keys = step.keys
    place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    maps = results.maps(name, step.index, list(place))
    return maps if len(place) == len(keys) else maps[[place[key] for key in keys]]
