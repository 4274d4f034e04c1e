"""From maps to what is kept of them: summaries, and the mask as COCO run-length encoding.

COCO's encoding runs down the *columns* (Fortran order). It is read back with
`pycocotools.mask.decode({"size": [mask_height, mask_width], "counts": mask})`.
"""

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

QUANTILE = 0.99


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Compressed COCO counts of a mask [h, w]."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def summarize(values: NDArray[np.float32]) -> tuple[float, float, float]:
    """Mean, maximum and high quantile of a map [h, w]."""
    return float(values.mean(dtype=np.float64)), float(values.max()), float(np.quantile(values, QUANTILE))
