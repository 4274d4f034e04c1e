"""Local IoU and AUC of maps that no scan has stored, by the oracle protocol and the bootstrap of `memscan eval`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.overlap import Overlap, overlap
from memscan.scanner.evaluation.protocol import extremes, oracle_counts
from testbed.captions import CAPTIONS, Caption
from testbed.dataset import masks

Maps = NDArray[np.float64]  # [N, h, w], above -1: the protocol takes log1p


@dataclass(frozen=True)
class Agreement:
    """IoU on local images, normalised over these, and AUC of the maps' means: memorized images against none."""

    local: Overlap
    found: Detection


def agreement(maps: Maps, captions: Sequence[Caption]) -> Agreement:
    """Both figures of maps of these captions' images.

    Raises:
        ValueError: there is no local image, or none of kind none.
    """
    found = detection(
        maps.mean(axis=(1, 2)), np.array([caption.kind != "none" for caption in captions]), _numbers(captions)
    )
    if found is None:
        raise ValueError("an AUC needs memorized and other images")
    return Agreement(local_overlap(maps, captions), found)


def local_overlap(maps: Maps, captions: Sequence[Caption]) -> Overlap:
    """IoU on the local images among these; raises ValueError where there are none."""
    chosen = [index for index, caption in enumerate(captions) if caption.kind == "local"]
    if not chosen:
        raise ValueError("no image is of kind local")
    local = [captions[index] for index in chosen]
    ends = extremes(maps[chosen])
    truths = [masks(caption).memorized for caption in local]
    return overlap(oracle_counts(maps[chosen], truths, ends[:, 0].min(), ends[:, 1].max()), _numbers(local))


def with_interval(value: float, interval: tuple[float, float] | None) -> str:
    """`.912 [.880, .940]`, as `memscan eval` writes it."""
    ends = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{value:.3f}{ends}"


def _numbers(captions: Sequence[Caption]) -> NDArray[np.intp]:
    return np.array([CAPTIONS.index(caption) for caption in captions])
