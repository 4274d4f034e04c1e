"""Compares the graphs of a bundle, as saved, with torch: runs each on the inputs of its case.

The error of a quantity is |onnx - torch| / |torch| in the Euclidean norm, worst over the images of a batch. The limit
in float32 is that of the same arithmetic in two orders of summation; in half precision it is 20 units of rounding, for
weights and activations are rounded at every one of some hundred nodes, independently.
"""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memscan.export.parity.oracle import Case
from memscan.export.passes.half_precision import Precision
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

LIMIT = 1e-5
PICTURE_LIMIT = 1e-4
"""Pictures are looked at, in 8 bits, and the VAE is deep: its limit is ten times wider."""
HALF_LIMIT = 1e-2
"""20 times the relative rounding of float16, 2^-11."""

MAX_SCORES = 2**26
"""Elements of K-fold attention scores up to which a graph is run: a quarter of a GiB in float32, several times over."""

_COMPUTED_IN_FLOAT32 = "by a runtime that computes float16 in float32: proves the graph and its weights, not its range"
NO_BFLOAT16 = "ONNX Runtime has no bfloat16 product on the CPU"
_TOO_LARGE = "its attention scores are too large for a CPU; the sliced graph differs from it in attention bodies alone"


@dataclasses.dataclass(frozen=True)
class ParityRow:
    """Worst relative error of one output of one graph; None where the graph was not run, for the reason in `note`.

    `overflow` says whose values are not finite: torch's own, or only the graph's.
    """

    graph: str
    output: str
    error: float | None
    limit: float
    note: str = ""
    overflow: Literal["torch", "graph"] | None = None

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= self.limit  # a NaN fails


def compare_denoiser(
    file: Path, case: Case, precision: Precision, prefix: str = "", *, scores: int = 0
) -> list[ParityRow]:
    """Parity of a denoiser's graph of some precision with torch in float32, as far as it can be had on a CPU.

    Args:
        scores: elements of the largest K-fold attention scores that the graph forms.
    """
    reason = NO_BFLOAT16 if precision == "bf16" else _TOO_LARGE if scores > MAX_SCORES else None
    if reason is not None:
        return [ParityRow(prefix + file.name, name, None, HALF_LIMIT, reason) for name in case.expected]
    if precision == "fp16":
        return compare(file, case, HALF_LIMIT, prefix, _COMPUTED_IN_FLOAT32)
    return compare(file, case, LIMIT, prefix)


def compare(file: Path, case: Case, limit: float, prefix: str = "", note: str = "") -> list[ParityRow]:
    """Parity of a graph's outputs; `prefix` goes before its name."""
    session = _session(file)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, case.feed), strict=True))
    return [
        compare_values(prefix + file.name, name, found[name], expected, limit, note)
        for name, expected in case.expected.items()
    ]


def format_table(rows: list[ParityRow], of: str = "graph") -> str:
    """The rows as an aligned table; `of` is its heading over `ParityRow.graph`."""
    names_of = [(of, "output"), *((row.graph, row.output) for row in rows)]
    graphs, outputs = (max(map(len, names)) for names in zip(*names_of, strict=True))
    lines = [f"{of:{graphs}}  {'output':{outputs}}  {'error':>7}  {'limit':>7}"]
    for row in rows:
        names = f"{row.graph:{graphs}}  {row.output:{outputs}}"
        if row.error is None:
            lines.append(f"{names}  {'-':>7}  {'-':>7}  not run: {row.note}")
        else:
            verdict = ("ok" if row.passed else "FAILED") + (f", {row.note}" if row.note else "")
            lines.append(f"{names}  {row.error:7.1e}  {row.limit:7.0e}  {verdict}")
    return "\n".join(lines)


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def compare_values(
    graph: str, output: str, found: NDArray, expected: NDArray, limit: float, note: str = ""
) -> ParityRow:
    """Parity of one output [N, ...]; another shape than expected is an infinite error."""
    if found.shape != expected.shape:
        note = f"has the shape {'x'.join(map(str, found.shape))}, torch's is {'x'.join(map(str, expected.shape))}"
        return ParityRow(graph, output, math.inf, limit, note)
    if not np.isfinite(expected).all():
        return ParityRow(graph, output, math.nan, limit, note, "torch")
    if not np.isfinite(found).all():
        return ParityRow(graph, output, math.nan, limit, note, "graph")
    return ParityRow(graph, output, _worst_error(found, expected), limit, note)


def _worst_error(found: NDArray, expected: NDArray) -> float:
    reference = expected.astype(np.float64).reshape(len(expected), -1)
    difference = found.astype(np.float64).reshape(len(found), -1) - reference
    return float(np.max(np.linalg.norm(difference, axis=1) / np.linalg.norm(reference, axis=1)))
