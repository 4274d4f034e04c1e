"""A tiny pipeline exported whole and scanned: what every test of a family's member asks, in one place."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.quiet import quiet_libraries
from memscan.scanner.cli import invoke


def export_whole(checkpoint: Checkpoint, out: Path, baseline: Checkpoint | None = None) -> list[str]:
    """Export, and hold each graph against torch and the image against diffusers' own pipeline; returns what was said.

    Derivatives are held against torch's forward mode to 1e-5, the trajectory against the pipeline to 1e-4.
    """
    said: list[str] = []
    options = ExportOptions(tangents=2, certify=())
    with quiet_libraries():
        rows = export_bundle(checkpoint, out, baseline=baseline, options=options, report=said.append)
    errors = {(row.graph, row.output): row.error for row in rows}
    assert all(error is not None for error in errors.values()), [row.note for row in rows if row.error is None]
    for graph in ("measure.onnx", "measure.frozen.onnx", "measure.shallow.onnx"):
        assert errors[graph, "v_dot_jv"] < 1e-5
    latents = next(error for (graph, output), error in errors.items() if output == "latents" and "Pipeline" in graph)
    assert latents < 1e-4
    return said


def scan(bundle: Path, manifest: Path, out: Path, *options: str, code: int = 0) -> pa.Table:
    """The results of a short scan of a manifest."""
    short = ("--num-inference-steps", "4", "--engine", "onnxruntime", "--provider", "cpu")
    assert invoke(["run", str(manifest), "--model", str(bundle), "--out", str(out), *short, *options]) == code
    return pq.read_table(out / "results")
