"""Why parity failed, and what to do: values that overflow are the checkpoint's or the precision's, all else is ours."""

import math
from collections.abc import Sequence

from memscan.export.parity.parity import ParityRow
from memscan.export.passes.half_precision import Precision
from memscan.scanner import graph_names

_PARTS = {
    graph_names.MEASURE: "denoiser",
    graph_names.STEP: "denoiser",
    graph_names.UNGUIDED: "denoiser",
    graph_names.OBSERVE: "denoiser",
    graph_names.CONDITION: "denoiser",
    graph_names.TEXT_ENCODER: "text encoder",
    graph_names.VAE_DECODER: "VAE",
    graph_names.VAE_ENCODER: "VAE",
}


def failure(rows: Sequence[ParityRow], precision: Precision, *, narrowed: bool) -> str | None:
    """One line on the rows that did not pass; None if all did.

    Args:
        narrowed: weights are stored as float16.
    """
    failed = [row for row in rows if not row.passed]
    if not failed:
        return None
    overflown = [row for row in failed if row.overflow] or failed
    outputs = ", ".join(f"{row.graph} {row.output}" for row in overflown)
    parts = " and ".join(dict.fromkeys(_part(row.graph) for row in overflown))
    in_torch = any(row.overflow == "torch" for row in overflown)
    if in_torch and narrowed:
        why = f"values of the {parts} lie beyond the range of float16, in which its weights are stored, or of float32"
        advice = "export with --storage float32"
    elif in_torch:
        why = f"values of the {parts} lie beyond the range of float32, in torch too, though its weights are finite"
        advice = "this checkpoint computes nothing, mend its weights"
    elif overflown[0].overflow and precision == "fp16":
        why = f"values of the {parts} lie beyond the range of float16"
        advice = "export with --precision bf16 or fp32"
    else:
        return f"parity with torch failed for {outputs}: no bundle was written; please report it"
    return f"{why} ({outputs}): no bundle was written; {advice}"


def trajectory_failure(rows: Sequence[ParityRow], precision: Precision, *, narrowed: bool) -> str | None:
    """One line on a trajectory whose rows did not all pass; None if they did.

    Args:
        narrowed: weights are stored as float16.
    """
    failed = [row for row in rows if not row.passed]
    if not failed:
        return None
    folder, _, pipeline = failed[0].graph.rpartition("/")
    what, are, that = ("latents", "are", "those") if folder else ("image", "is", "that")
    who = f"the {folder or 'bundle'}"
    if any(row.overflow == "torch" for row in failed):
        why = f"the {what} that diffusers' own {pipeline} draws {are} not finite"
        advice = "export with --storage float32" if narrowed else "this checkpoint computes nothing, mend its weights"
    elif precision == "fp16" and failed[0].overflow == "graph":
        why = f"the {what} that {who} draws {are} not finite: values of the denoiser lie beyond the range of float16"
        advice = "export with --precision bf16 or fp32"
    else:
        errors = ", ".join(
            f"{row.output} {row.note}" if row.error == math.inf else f"{row.output} by {row.error:.1e}"
            for row in failed
        )
        why = f"the {what} that {who} draws {are} not {that} of diffusers' own {pipeline} ({errors})"
        advice = "a configuration was misread, please report it"
    return f"{why}: no bundle was written; {advice}"


def _part(graph: str) -> str:
    folder, _, name = graph.rpartition("/")
    part = next(part for whole, part in _PARTS.items() if name.startswith(whole.removesuffix("onnx")))
    return f"{folder}'s {part}" if folder else part
