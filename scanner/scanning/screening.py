"""Screening: an image is sampled for a few guided steps, and scanned only if its score until then is high enough.

These are the first steps of its own path, so that the score is the column that a scan measuring there would have.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from memscan.scanner.bundle import Bundle
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.samples import Screened
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.prepare import Prepared
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Measurement, Screen, Step


class Screening:
    """Screens the sampled images of a run.

    Args:
        measurement: of the run: of it the path is taken.
        screen: its score is one number an image of the sampler's path, and not a summary of a map.
        ceiling: how many samples share each call of a graph.
    """

    def __init__(
        self, bundle: Bundle, graphs: Graphs, measurement: Measurement, screen: Screen, ceiling: BatchCeiling
    ) -> None:
        self._screen = screen
        self._scanner = Scanner(bundle, graphs, _first_steps(measurement, screen), ceiling)

    @property
    def calls(self) -> int:
        """How often the denoiser is called for one batch."""
        return self._scanner.calls

    def __call__(self, prepared: Sequence[Prepared]) -> tuple[list[Prepared], Screened]:
        """Those to be scanned, in their order, and those that are not.

        Images that rows bring have no path, and pass; so does one whose score is not finite, since only the scan of it
        can say what is wrong with it.

        Raises:
            EnvironmentFailed: as `Scanner.scan`.
        """
        scores = iter(self._scores([item for item in prepared if item.image is None]))
        passed: list[Prepared] = []
        left_out: list[Prepared] = []
        for item in prepared:
            if item.image is not None:
                passed.append(item)
                continue
            score = next(scores)
            known = score if np.isfinite(score) else None
            screened = item._replace(sample=dataclasses.replace(item.sample, screen_score=known))
            (left_out if score < self._screen.threshold else passed).append(screened)
        truncated = tuple(item.tokens.truncated for item in left_out)
        return passed, Screened(tuple(item.sample for item in left_out), truncated)

    def _scores(self, sampled: Sequence[Prepared]) -> list[float]:
        sign = SCORE_COLUMNS[self._screen.score].sign
        found: list[float] = []
        for scanned in self._scanner.scan(sampled):
            (measured,) = scanned.steps
            found += (sign * measured.scores[self._screen.score].values).tolist()
        return found


def _first_steps(measurement: Measurement, screen: Screen) -> Measurement:
    """A measurement of the screening score alone, with the first `screen.steps` guided steps."""
    return dataclasses.replace(
        measurement,
        steps=(Step(screen.steps - 1, None, False),),
        metrics=(screen.score,),
        score_name=screen.score,
        save_maps=False,
        save_images=False,
        references=(),
        smooth=1,
        screen=None,
    )
