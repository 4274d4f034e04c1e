"""ONNX Runtime's wheels report to their vendor since 1.29, and keep a database of what they ran: not within memscan."""

import os


def forbid_telemetry() -> None:
    """Must come before the process imports onnxruntime for the first time: its own call to disable it stops neither."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
