"""First part of the proof: the mean of h in each region, for the conditional, unconditional and less-trained denoiser.

h = sigma diag(J): 1 is fully collapsed. What is memorized must be collapsed for the conditional denoiser only, what
is intrinsic for all three, what is free for none.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from memscan.scanner.results.reader import Results
from testbed.captions import CAPTIONS
from testbed.cells import cover
from testbed.dataset import masks
from testbed.scanning import image_keys, prompts_of, step_indices

REGIONS = ("memorized", "free", "intrinsic")


class RegionMeans(NamedTuple):
    """Mean of h over the latent cells that lie wholly in one region of the images of one kind, at one timestep."""

    timestep: int
    kind: str
    region: str
    conditional: float
    unconditional: float
    less_trained: float


def region_means(results: Results) -> list[RegionMeans]:
    """Means of h by timestep, kind and region, from maps h_cond, dh_uncond and dh_base of a finished scan."""
    keys = image_keys(results)
    prompts = prompts_of(results)
    captions = {caption.prompt: caption for caption in CAPTIONS}
    shown = [captions[prompts[row]] for row, _ in keys]
    found = []
    for timestep, index in step_indices(results).items():
        cond, uncond, base = (
            results.maps(name, index, keys).astype(np.float64) for name in ("h_cond", "dh_uncond", "dh_base")
        )
        for kind in ("global", "local", "none"):
            for region in REGIONS:
                inside = np.stack(
                    [
                        (cover(getattr(masks(caption), region), cond.shape[1:]) == 1) & (caption.kind == kind)
                        for caption in shown
                    ]
                )
                if inside.any():
                    h = (cond[inside].mean(), (cond - uncond)[inside].mean(), (cond - base)[inside].mean())
                    found.append(RegionMeans(timestep, kind, region, *map(float, h)))
    return found


def region_lines(means: list[RegionMeans]) -> Iterator[str]:
    """The table as text."""
    yield f"{'t':>4}  {'kind':<7}{'region':<10} {'cond.':>6} {'uncond.':>8} {'less trained':>13}"
    for row in means:
        yield (
            f"{row.timestep:>4}  {row.kind:<7}{row.region:<10}"
            f" {row.conditional:>6.3f} {row.unconditional:>8.3f} {row.less_trained:>13.3f}"
        )
