"""Heat-map colours: the "inferno" table of matplotlib (CC0), whose lightness rises evenly from black to pale yellow."""

import numpy as np
from numpy.typing import NDArray

_ANCHORS = "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4"
_TABLE = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS.split()], dtype=np.float64)  # [10, RGB]


def colours(values: NDArray[np.floating], high: float) -> NDArray[np.uint8]:
    """Colour of each of `values` [...] on a scale from 0 to `high`, clipped at both ends: [..., 3]."""
    place = np.clip(np.asarray(values, dtype=np.float64) / high, 0.0, 1.0) * (len(_TABLE) - 1)
    channels = [np.interp(place, np.arange(len(_TABLE)), _TABLE[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def scale_end(values: NDArray[np.floating]) -> float:
    """A round number that is the upper end of a scale for `values`: at least their 99.5% quantile, and positive."""
    wanted = float(np.quantile(values, 0.995))
    if wanted <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(wanted))
    steps = np.array([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) * power
    return float(steps[np.searchsorted(steps, wanted)])
