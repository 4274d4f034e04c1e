"""The one scale of all colours and bars of all sheets: absolute, so that no sheet alarms where nothing was found.

Maps and their summaries are in the collapse unit. Of curvature (dh, h), 1 is a full collapse: the model leaves a pixel
no freedom. Of squared score changes (ds), 1 is the variance of the noise: the two predictions differ by as much as
there is to predict. Scores in other units have no such ends, and so no bar.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW, HIGH = 0.0, 1.0


def share(values: ArrayLike) -> NDArray[np.float64]:
    """How far along the scale each of `values` [...] lies: 0 to 1, what is beyond an end at this end."""
    return np.clip((np.asarray(values, dtype=np.float64) - LOW) / (HIGH - LOW), 0.0, 1.0)


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
