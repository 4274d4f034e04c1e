"""Which images are flagged: by their p-value where the results have one, else by what their mask found.

A p-value comes with a rate: of images that are not memorized, at most that share is flagged. A mask is not empty where
a pixel of the map reaches its threshold, which promises no rate.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

COLUMNS = ("status", "mask_share", "p_value")
"""What must be read of the results, as far as they have it."""

RATE = 0.01
"""The false-positive rate at which p-values flag, unless another is asked for."""


def has_p_values(table: pa.Table) -> bool:
    """Whether any row has a p-value."""
    if "p_value" not in table.column_names or not pa.types.is_floating(table["p_value"].type):
        return False
    return bool(table["p_value"].null_count < len(table))


def flagged(table: pa.Table, rate: float) -> NDArray[np.bool_]:
    """Whether each of the rows [R] is flagged; rows whose status is not ok never are.

    Args:
        rate: the false-positive rate at which p-values flag.
    """
    found = pc.fill_null(pc.greater(table["mask_share"], 0), False)
    if has_p_values(table):
        found = pc.coalesce(pc.less_equal(table["p_value"], pa.scalar(rate, table["p_value"].type)), found)
    return np.asarray(pc.and_(found, pc.equal(table["status"], "ok")).to_numpy(), np.bool_)
