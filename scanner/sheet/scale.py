"""The one scale of all colours and bars of all sheets: absolute, so that no sheet alarms where nothing was found.

Maps and their summaries are in the collapse unit. Of curvature (dh, h), 1 is a full collapse: the model leaves a pixel
no freedom. Of squared score changes (ds), 1 is the variance of the noise: the two predictions differ by as much as
there is to predict; but they mark a memorized part at a few hundredths already, so their scale is that of the square
root, which is the size of the change itself. A cosine is drawn from 0, at right angles or beyond, to 1, aligned. Scores
in other units have no such ends, and so no bar.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memscan.scanner.metrics import score_difference

LOW, HIGH = 0.0, 1.0
_SQUARES = {metric.name for metric in (score_difference.DS_UNCOND, score_difference.DS_BASE, score_difference.PATH)}


def share(values: ArrayLike, metric: str) -> NDArray[np.float64]:
    """How far along the scale of a `metric` each of `values` [...] lies: 0 to 1, what is beyond an end at this end."""
    linear = np.clip((np.asarray(values, dtype=np.float64) - LOW) / (HIGH - LOW), 0.0, 1.0)
    return np.sqrt(linear) if metric in _SQUARES else linear


def ticks(metric: str) -> tuple[float, float, float]:
    """The values at the ends of the scale of a `metric` and in its middle."""
    middle = 0.25 if metric in _SQUARES else 0.5
    return LOW, LOW + middle * (HIGH - LOW), HIGH


def number(value: float) -> str:
    """A value to three decimals, or five digits if it is large; what rounds to zero has no sign."""
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.5g}"
    return "0.000" if text == "-0.000" else text


def percentage(covered: float) -> str:
    """A share in percent: 0% and 100% are nothing and everything, never almost."""
    rounded = f"{covered:.0%}"
    if rounded == "0%" and covered > 0:
        return "<1%"
    return ">99%" if rounded == "100%" and covered < 1 else rounded
