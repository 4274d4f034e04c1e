"""A pulse in the text format of OpenMetrics 1.0, which Prometheus and its textfile collector read."""

from collections.abc import Mapping

from memscan.scanner.results.pulse import Pulse

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def openmetrics(pulse: Pulse, labels: Mapping[str, str]) -> str:
    """Gauges.

    Args:
        labels: of every sample, beside the share.
    """
    named = {"share": pulse.share, **labels}
    said = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in named.items())
    gauges = {
        "images": (pulse.share_images, "Images of the share."),
        "done": (pulse.finished, "Images of the share that are done, those of earlier processes among them."),
        "failed": (pulse.failed, "Images among them with errors."),
        "scanned": (pulse.scanned, "Images that this process has scanned."),
        "seconds": (pulse.seconds, "Seconds since this process began to scan."),
        "last_progress_timestamp_seconds": (pulse.advanced, "When work last advanced, since 1970."),
        "ended": (pulse.state != "working", "1 once the process has ended."),
    }
    lines = []
    for name, (value, help) in gauges.items():
        lines += [f"# TYPE memscan_{name} gauge", f"# HELP memscan_{name} {help}"]
        lines += [f"memscan_{name}{{{said}}} {float(value)!r}"]
    return "\n".join([*lines, "# EOF", ""])
