"""Which timestep, map and score a run is to use, by what clean images alone can say."""

from collections.abc import Sequence

from memscan.scanner.calibration.record import AtTimestep, Recommended
from memscan.scanner.results.schema import USUAL_SUMMARY


def recommend(
    levels: Sequence[AtTimestep], mask_map: str, score_name: str | None, defaults: Sequence[int]
) -> Recommended:
    """The timestep of the greatest power of the mask's map; where power is not defined, the one nearest to the first
    default.

    Args:
        score_name: what the user wants; None is `USUAL_SUMMARY` of the map.
        defaults: the bundle's default timesteps.
    """
    score = score_name or f"{mask_map}_{USUAL_SUMMARY}"
    told = [(level.maps[mask_map].power, level.timestep) for level in levels]
    known = [(power, timestep) for power, timestep in told if power is not None]
    if known:
        power, timestep = max(known)
        why = (
            f"a memorized cell would pass the threshold of {mask_map} in {power:.0%} of the clean cells, "
            "more than at any other timestep; prompts known to be memorized (--labelled) choose better"
        )
        return Recommended(timestep, mask_map, score, why)
    timestep = min((timestep for _, timestep in told), key=lambda one: abs(one - defaults[0]))
    return Recommended(timestep, mask_map, score, "nearest to the bundle's default: clean images say no more")
