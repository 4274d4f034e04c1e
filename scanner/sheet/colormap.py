"""Heat-map colours: the "inferno" table of matplotlib (CC0), whose lightness rises evenly from black to pale yellow."""

import numpy as np
from numpy.typing import NDArray

_ANCHORS = "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4"
_TABLE = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS.split()], dtype=np.float64)  # [10, RGB]


def colours(places: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour of each of `places` [...] on a scale from 0 to 1: [..., 3]."""
    place = np.asarray(places, dtype=np.float64) * (len(_TABLE) - 1)
    channels = [np.interp(place, np.arange(len(_TABLE)), _TABLE[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)
