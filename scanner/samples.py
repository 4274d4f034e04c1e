"""What flows through a scan: a `Sample`, one for every (row, seed), ends up `Scanned`, `Screened` or `Rejected`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.settings import Derivative

SAMPLED = "sampled"
"""The `image_source` of an image that the model makes."""

Key = tuple[int, int]
"""(row, seed) of an image."""

RowKey = tuple[int, int, int]
"""(row, seed, step_index) of a row of results, and of the maps that belong to it."""

GIVEN = "given"
"""The `image_source` of an image that a row brings; how it was fitted follows, after a comma."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image to be scanned: a valid manifest row with one of its seeds.

    `row` is the row's index in the whole manifest. `image` holds encoded image bytes if the row brings its own image;
    `image_given` says so even where it was not read. `condition_image` and `condition_mask` are encoded pictures that
    the denoiser is shown beside the latents, None where the row brings none. `carried` holds the values of the columns
    to be carried through. `screen_score` is what it was screened by, None where it was not.
    """

    row: int
    seed: int
    prompt: str
    id: str | None = None
    image: bytes | None = None
    carried: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_given: bool = False
    screen_score: float | None = None
    condition_image: bytes | None = None
    condition_mask: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A manifest row, or one seed of it, that cannot be scanned, and why, in one line.

    `image_given` is None where the row is so garbled that nobody knows.
    """

    row: int
    seed: int
    prompt: str | None
    error: str
    id: str | None = None
    carried: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_given: bool | None = False


class Screened(NamedTuple):
    """Samples that screening left out of the scan, and of each whether its prompt was longer than the text encoder."""

    samples: tuple[Sample, ...]
    truncated: tuple[bool, ...]


class Scores(NamedTuple):
    """A score of N images: float32 [N], and bool [N] which of them have it.

    An image that a row brings has no score of the way on which images are sampled.
    """

    values: NDArray[np.float32]
    exist: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class StepMaps:
    """The maps of N images at one measured step: name -> float32 [N, h, w] in the collapse unit, channel means.

    `errors` says of each image why its maps and scores are of no use (one was not finite), or None. `exist` says of a
    map that not all images have which have it, bool [N]: an image that a row brings has none of the sampler's path.
    """

    maps: Mapping[str, NDArray[np.float32]]
    errors: tuple[str | None, ...]
    scores: Mapping[str, Scores] = dataclasses.field(default_factory=dict)
    exist: Mapping[str, NDArray[np.bool_]] = dataclasses.field(default_factory=dict)

    def has(self, name: str) -> NDArray[np.bool_]:
        """Which of the N images have the map, bool [N]."""
        return self.exist.get(name, np.ones(len(self.errors), np.bool_))


@dataclasses.dataclass(frozen=True)
class Scanned:
    """Samples that were scanned together, with one `StepMaps` for each measured step, in the order of the steps.

    `truncated` says of each whether its prompt was longer than the text encoder, `sources` where its image came from,
    for the column `image_source`. `images` are uint8 [H, W, 3], if asked for.
    """

    samples: tuple[Sample, ...]
    truncated: tuple[bool, ...]
    steps: tuple[StepMaps, ...]
    sources: tuple[str, ...]
    images: tuple[NDArray[np.uint8], ...] | None = None


@dataclasses.dataclass(frozen=True)
class MeasuredStep:
    """What the rows of one measured step have in common; without a `threshold` they have no masks.

    `derivative` is the kind that was measured by; `thresholds` are the calibrated ones of all maps.
    """

    index: int
    timestep: int
    sigma: float
    threshold: float | None
    calibrated: bool
    derivative: Derivative = "exact"
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
