"""Results joined with ground truth: for each measured step the images that can be scored, and what could not be."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.truth import KINDS, GroundTruth
from memscan.scanner.metrics.catalogue import MAPS, SCORES
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.results.tally import SCREENED
from memscan.scanner.samples import Key

_COLUMNS = (
    *("row", "seed", "step_index", "timestep", "sigma", "id", "prompt", "status"),
    *("mask", "mask_height", "mask_width", "mask_share", "threshold", "calibrated"),
    *SCORE_COLUMNS,
)

_NAMED = 3


@dataclasses.dataclass(frozen=True)
class LabelledStep:
    """The N images with ground truth that were measured at one step.

    `table` holds their rows of the results, `truths` [N] the index of each image's truth, `captions` [N] the identity
    of its caption. An image with several truths is there for each of them, one after the other; `first` [N] marks the
    first, which alone counts where no region matters.
    """

    index: int
    timestep: int
    sigma: float
    table: pa.Table
    truths: NDArray[np.intp]
    captions: NDArray[np.intp]
    kinds: NDArray[np.str_]

    @functools.cached_property
    def first(self) -> NDArray[np.bool_]:
        seen: set[Key] = set()
        return np.array([not (key in seen or seen.add(key)) for key in self.keys])  # type: ignore[func-returns-value]

    @property
    def keys(self) -> list[Key]:
        return list(zip(self.table["row"].to_pylist(), self.table["seed"].to_pylist(), strict=True))

    def take(self, chosen: NDArray[np.intp]) -> "LabelledStep":
        """The images at these indices, in their order."""
        return dataclasses.replace(
            self,
            table=self.table.take(chosen),
            truths=self.truths[chosen],
            captions=self.captions[chosen],
            kinds=self.kinds[chosen],
        )

    @property
    def maps(self) -> list[str]:
        """The maps that were measured, in the order of the columns."""
        return [name for name in MAPS if self.table[f"{name}_mean"].null_count == 0]

    @property
    def scores(self) -> list[str]:
        """The scores that all images have, in the order of the columns."""
        return [name for name in SCORES if self.table[name].null_count == 0]

    def by_kind(self) -> Iterator[tuple[str, NDArray[np.intp]]]:
        """Each kind that occurs, with the indices of its images; then "all"."""
        for kind in KINDS:
            chosen = np.flatnonzero(self.kinds == kind)
            if len(chosen):
                yield kind, chosen
        yield "all", np.arange(len(self.kinds))


def label(results: Results, truth: GroundTruth, split: str | None) -> tuple[list[LabelledStep], list[str]]:
    """Join `results` with `truth`, or with that part of it whose split is `split`.

    Returns:
        The steps in the order of sampling, and one line for each reason why rows of the results are not scored.

    Raises:
        UsageError: no such split, or no row that could be scored.
    """
    _check_split(truth, split)
    table = results.rows(_COLUMNS)
    known = [truth.find(**one) for one in table.select(["id", "prompt", "seed", "row"]).to_pylist()]
    found = [[index for index in of_image if split in (None, truth.truths[index].split)] for of_image in known]
    ok, failed, screened = (pc.equal(table["status"], one).to_numpy() for one in ("ok", "error", SCREENED))
    is_known = np.array([bool(of_image) for of_image in known])
    memorized = np.array([any(truth.truths[index].kind != "none" for index in of_image) for of_image in found])
    notes = [*_unfinished(results), *_failed(failed), *_screened(screened, memorized)]
    notes += _unknown(table.filter(pa.array(ok & ~is_known)))
    places = [place for place in np.flatnonzero(ok) for _ in found[place]]
    if not places:
        reasons = "; ".join(notes) or f"all its prompts belong to another split than {split}"
        raise UsageError(f"nothing to evaluate in {results.path}: {reasons}")
    truths = np.array([index for place in np.flatnonzero(ok) for index in found[place]], dtype=np.intp)
    return _by_step(table.take(places), truths, truth), notes


def _by_step(table: pa.Table, truths: NDArray[np.intp], truth: GroundTruth) -> list[LabelledStep]:
    step_index = table["step_index"].to_numpy()
    kinds = np.array([truth.truths[index].kind for index in truths])
    captions = np.array([truth.caption(index) for index in truths], dtype=np.intp)
    steps = []
    for index in np.unique(step_index):
        here = np.flatnonzero(step_index == index)
        part = table.take(here)
        timestep, sigma = part["timestep"][0].as_py(), part["sigma"][0].as_py()
        steps.append(LabelledStep(int(index), timestep, sigma, part, truths[here], captions[here], kinds[here]))
    return steps


def _check_split(truth: GroundTruth, split: str | None) -> None:
    splits = sorted({one.split for one in truth.truths if one.split is not None})
    if split is not None and split not in splits:
        raise UsageError(f"the ground truth has no split {split!r}: it has {', '.join(splits) or 'none at all'}")


def _unfinished(results: Results) -> list[str]:
    return [] if results.finished else ["the run is not finished: only its finished parts are evaluated"]


def _failed(failed: NDArray[np.bool_]) -> list[str]:
    count = int(failed.sum())
    return [f"{count} of {len(failed)} result rows have status error and are not scored"] if count else []


def _screened(screened: NDArray[np.bool_], memorized: NDArray[np.bool_]) -> list[str]:
    count = int(screened.sum())
    if not count:
        return []
    return [
        f"{count} of {len(screened)} result rows have status {SCREENED} and are not scored, "
        f"{int((screened & memorized).sum())} of them memorized: figures are of the rows that were scanned"
    ]


def _unknown(rows: pa.Table) -> list[str]:
    images = rows.group_by(["row", "seed"], use_threads=False).aggregate([("prompt", "first")]).to_pylist()
    if not images:
        return []
    names = [f"row {one['row']} {one['prompt_first']!r:.40}" for one in images[:_NAMED]]
    more = f" and {len(images) - _NAMED} more" if len(images) > _NAMED else ""
    return [f"{_images(len(images))} without ground truth, not scored: {', '.join(names)}{more}"]


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
