"""ONNX Runtime, imported without its telemetry: the only import of it in memscan, its tests and its benchmarks."""

from memscan.scanner.telemetry import forbid_telemetry

forbid_telemetry()

import onnxruntime  # noqa: E402

__all__ = ["onnxruntime"]
