"""Tables of results and maps as they come from their files: none is used that no run can have written."""

import pyarrow as pa
import pyarrow.compute as pc

from memscan.scanner.results.torn import Torn
from memscan.scanner.terminal import brief

_ALWAYS = frozenset({"row", "seed", "step_index", "status", "map", "height", "width", "data"})
_IF_OK = frozenset({"prompt", "timestep", "sigma", "model_id", "calibrated", "score"})
"""Columns in which a row has a value, and those in which one has whose status is ok."""


def check_table(table: pa.Table, schema: pa.Schema) -> None:
    """Check the columns that a schema names: their types, text and numbers, and what is never null.

    Raises:
        Torn: a value is none that a run writes.
        ArrowInvalid: text is not UTF-8, or values lie outside of their file's buffers.
    """
    table.validate(full=True)
    ok = pc.equal(table["status"], "ok") if "status" in table.column_names else None
    for name in table.column_names:
        if name not in schema.names:
            continue
        column, expected = table[name], schema.field(name).type
        if column.type != expected:
            raise Torn(f"its column {name} is {brief(str(column.type))}, not {expected}")
        if (name in _ALWAYS and column.null_count) or (
            name in _IF_OK and ok is not None and column.filter(ok).null_count
        ):
            raise Torn(f"its column {name} is null where there is always a value")
        if pa.types.is_floating(column.type) and pc.any(pc.invert(pc.is_finite(column))).as_py():
            raise Torn(f"its column {name} has values that are not finite")
