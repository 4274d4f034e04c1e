"""What flows through a scan: a `Sample` goes in, a `Scanned` or a `Rejected` comes out. One for every (row, seed)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image to be scanned: a valid manifest row with one of its seeds.

    `row` is the row's index in the whole manifest. `image` holds encoded image bytes if the row brings its own image.
    `carried` holds the values of the columns to be carried through.
    """

    row: int
    seed: int
    prompt: str
    id: str | None = None
    image: bytes | None = None
    carried: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A manifest row, or one seed of it, that cannot be scanned, and why, in one line."""

    row: int
    seed: int
    prompt: str | None
    error: str
    id: str | None = None
    carried: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StepMaps:
    """The maps of one image at one measured step: name -> float32 [h, w] in the collapse unit, channel means.

    `error` says why there are none (a map was not finite); `maps` is empty then.
    """

    maps: Mapping[str, NDArray[np.float32]]
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Scanned:
    """A sample with its maps, one `StepMaps` for each measured step, in the order of `Measurement.steps`.

    `truncated` says that the prompt was longer than the text encoder. `image` is uint8 [H, W, 3], if asked for.
    """

    sample: Sample
    truncated: bool
    steps: tuple[StepMaps, ...]
    image: NDArray[np.uint8] | None = None
