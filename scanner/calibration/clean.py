"""From a finished scan of prompts that are not memorized to the distribution of each score and map at each timestep."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memscan.scanner.calibration.order_statistics import limit, needed
from memscan.scanner.calibration.power import power
from memscan.scanner.calibration.record import AtTimestep, CalibrationRecord, MapLimit, ScoreLimit
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS, SHARE
from memscan.scanner.samples import Key
from memscan.scanner.sampling.schedule import Level, noise_level
from memscan.scanner.schedules import Schedule
from memscan.scanner.terminal import listed


@dataclasses.dataclass(frozen=True)
class CleanScan:
    """A finished scan with maps, and those of its prompts whose images are all good: `images_a_prompt` each."""

    results: Results
    keys: tuple[Key, ...]
    prompts: tuple[str, ...]
    images_a_prompt: int
    failed: int

    def levels(self, schedule: Schedule, rate: float) -> tuple[AtTimestep, ...]:
        """What was found at each measured timestep, descending, with thresholds at `rate`."""
        rows = self.results.rows(["row", "seed", "step_index", "timestep"])
        steps = dict(zip(rows["step_index"].to_pylist(), rows["timestep"].to_pylist(), strict=True))
        return tuple(
            self._level(index, steps[index], noise_level(schedule, steps[index]), rate) for index in sorted(steps)
        )

    def highest(self, record: CalibrationRecord) -> list[float]:
        """The highest score of each prompt at the recommended timestep."""
        rows = self.results.rows(["row", "seed", "step_index", "timestep"])
        steps = dict(zip(rows["timestep"].to_pylist(), rows["step_index"].to_pylist(), strict=True))
        values = self.columns(steps[record.recommended.timestep])[record.recommended.score_name]
        return [float(value) for value in values.reshape(len(self.prompts), -1).max(axis=1)]

    def columns(self, index: int) -> dict[str, NDArray[np.float32]]:
        """Every score column that all images have at a step, in the order of `keys`, where high means memorized.

        Shares of masks are none: they depend on the very thresholds that are being made.
        """
        columns = ["row", "seed", "step_index", *SCORE_COLUMNS]
        table = self.results.rows(columns, (ds.field("step_index") == index) & (ds.field("status") == "ok"))
        place = {key: at for at, key in enumerate(zip(*(table[n].to_pylist() for n in ("row", "seed")), strict=True))}
        table = table.take([place[key] for key in self.keys])
        return {
            name: metric.sign * table[name].to_numpy()
            for name, metric in SCORE_COLUMNS.items()
            if not table[name].null_count and not name.endswith(f"_{SHARE}")
        }

    def _level(self, index: int, timestep: int, noise: Level, rate: float) -> AtTimestep:
        scores = {name: self._score(values, rate) for name, values in self.columns(index).items()}
        measured = [name for name in MAPS if f"{name}_mean" in scores]
        curvature = self.results.maps("h_cond", index, self.keys) if "h_cond" in measured else None
        return AtTimestep(timestep, scores, {name: self._map(name, index, curvature, noise, rate) for name in measured})

    def _map(self, name: str, index: int, curvature: NDArray[np.float16] | None, noise: Level, rate: float) -> MapLimit:
        values = self.results.maps(name, index, self.keys)
        found = limit(values.reshape(len(self.prompts), -1), rate)
        is_difference = len([ask for ask in METRICS[name].asks if ask.quantity == "diagonal"]) == 2
        told = None if curvature is None or not is_difference else power(values, curvature, found.threshold, noise)
        return MapLimit(found.threshold, found, told)

    def _score(self, values: NDArray[np.float32], rate: float) -> ScoreLimit:
        of_prompts = values.reshape(len(self.prompts), self.images_a_prompt)
        return ScoreLimit(tuple(_shortest(values)), limit(of_prompts, rate))


def clean_scan(results: Results, rate: float) -> CleanScan:
    """The scan of the clean prompts, if they support the rate of false positives.

    Raises:
        UsageError: they are too few, or of the good ones some have other numbers of images than others.
    """
    table = results.rows(["row", "seed", "step_index", "prompt", "status", "error"])
    prompts: dict[int, str] = {}
    seeds: dict[int, dict[int, None]] = {}
    failed: dict[int, str] = {}
    for row, seed, _, prompt, status, error in zip(*table.to_pydict().values(), strict=True):
        seeds.setdefault(row, {})[seed] = None
        prompts[row] = prompt
        if status != "ok":
            failed.setdefault(row, error)
    good = [row for row in seeds if row not in failed]
    check_support(len(good), rate, next(iter(failed.values()), None))
    counts = {len(seeds[row]) for row in good}
    if len(counts) > 1:
        raise UsageError(f"the clean prompts have {listed(sorted(map(str, counts)), 3)} seeds: give each as many")
    keys = tuple((row, seed) for row in good for seed in sorted(seeds[row]))
    return CleanScan(results, keys, tuple(prompts[row] for row in good), counts.pop(), len(failed))


def check_support(prompts: int, rate: float, failure: str | None = None) -> None:
    """Raises UsageError if a rate of false positives needs more prompts than there are."""
    if prompts < needed(rate):
        failed = "" if failure is None else f" (others failed: {failure})"
        raise UsageError(
            f"--rate {rate:g} needs {needed(rate)} clean prompts at least, and there are {prompts}{failed}: "
            "give more by --clean FILE, or a higher rate"
        )


def _shortest(values: NDArray[np.float32]) -> Sequence[float]:
    """Ascending, in the fewest decimal digits that tell a float32."""
    return [float(str(value)) for value in np.sort(values)]
