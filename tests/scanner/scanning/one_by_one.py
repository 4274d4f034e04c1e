"""What a scan gives, image by image, as tests look at it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.samples import Rejected, Sample, Scanned
from memscan.scanner.scanning.prepare import Prepared
from memscan.scanner.scanning.scanner import Scanner


@dataclasses.dataclass(frozen=True)
class ImageStep:
    """The maps [h, w] and scores of one image at one measured step; there are none if `error` says why."""

    maps: Mapping[str, NDArray[np.float32]]
    error: str | None
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Image:
    """One scanned image."""

    sample: Sample
    truncated: bool
    steps: tuple[ImageStep, ...]
    image: NDArray[np.uint8] | None


def images_of(scanned: Scanned) -> Iterator[Image]:
    """The images of a batch."""
    for i, sample in enumerate(scanned.samples):
        steps = tuple(
            ImageStep({}, step.errors[i], {})
            if step.errors[i]
            else ImageStep(
                {name: maps[i] for name, maps in step.maps.items() if step.has(name)[i]},
                None,
                {name: float(scores.values[i]) for name, scores in step.scores.items() if scores.exist[i]},
            )
            for step in scanned.steps
        )
        yield Image(sample, scanned.truncated[i], steps, None if scanned.images is None else scanned.images[i])


def scan_one_by_one(scanner: Scanner, samples: Sequence[Sample]) -> list[Image | Rejected]:
    """Prepare and scan samples; what comes of each, in their order."""
    outcomes = scanner.prepare(samples)
    prepared = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
    scanned = (image for batch in scanner.scan(prepared) for image in images_of(batch))
    return [outcome if isinstance(outcome, Rejected) else next(scanned) for outcome in outcomes]
