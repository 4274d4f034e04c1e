"""What an evaluation knows of each image, as a table: one row for each image, step and truth.

<score>                         every score that all images of the step have, with the sign by which high is memorized
<map>_iou_fixed                 overlap of the delivered mask with the truth
<map>_iou_oracle                the same of the map at the best threshold of all images together
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.evaluation.labelled import LabelledStep, label
from memscan.scanner.evaluation.localize import Localization
from memscan.scanner.evaluation.overlap import overlap, ratio
from memscan.scanner.evaluation.protocol import Counts
from memscan.scanner.evaluation.score_columns import scores
from memscan.scanner.evaluation.truth import GroundTruth, Truth
from memscan.scanner.results.reader import Results


def per_image(results: Results, truth: GroundTruth, split: str | None = None) -> pa.Table:
    """The rows of all steps; what a step lacks is null.

    Raises:
        UsageError: nothing can be scored.
    """
    steps, _ = label(results, truth, split)
    tables = [_of_step(results, step, truth) for step in steps]
    return pa.concat_tables(tables, promote_options="default")


def _of_step(results: Results, step: LabelledStep, truth: GroundTruth) -> pa.Table:
    table = step.table.select(["row", "seed", "step_index", "timestep", "id", "prompt"])
    truths = [truth.truths[index] for index in step.truths]
    columns = {"kind": [one.kind for one in truths], "split": pa.array([one.split for one in truths], pa.string())}
    table = _with(table, columns | {"truth_share": pa.array([_share(one) for one in truths], pa.float64())})
    table = _with(table, dict(scores(results, step)))
    for name in step.maps:
        table = _with(table, dict(_overlaps(Localization(results, step, truth, name), name, len(truths))))
    return table


def _overlaps(found: Localization, name: str, images: int) -> Iterator[tuple[str, pa.Array]]:
    known = np.flatnonzero(found.known)
    fixed = found.fixed(known) if len(known) else None
    if fixed is not None:
        yield f"{name}_iou_fixed", _spread(ratio(fixed.both, fixed.union)[:, 0], known, images)
    oracle = found.oracle(known) if len(known) else None
    if oracle is not None:
        counts: Counts = oracle[0]
        best = overlap(counts, known).best_iou
        yield f"{name}_iou_oracle", _spread(ratio(counts.both, counts.union)[:, best], known, images)


def _spread(values: NDArray[np.float64], known: NDArray[np.intp], images: int) -> pa.Array:
    """Values of the images `known` among all, the others null."""
    whole = np.zeros(images)
    whole[known] = values
    lacking = np.ones(images, dtype=bool)
    lacking[known] = False
    return pa.array(whole, mask=lacking)


def _share(truth: Truth) -> float | None:
    return None if truth.mask is None else float(truth.mask.mean())


def _with(table: pa.Table, columns: dict[str, object]) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table
