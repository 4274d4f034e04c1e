"""The summary of a run, for those who run it every night: what came out, how it ended, how fast, and by what."""

import dataclasses
import functools
import json
import platform
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from memscan.scanner.model.graphs import Graphs
from memscan.scanner.results import layout
from memscan.scanner.results.at_once import in_order
from memscan.scanner.results.error_kinds import count_kinds
from memscan.scanner.results.finished import part_record
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.pulse import Pulse
from memscan.scanner.results.tally import Tally
from memscan.scanner.results.torn import parquet
from memscan.scanner.run.cut import Survey
from memscan.scanner.run.job import Job
from memscan.scanner.runtimes.installed import installed_version

_PACKAGES = (
    "memscan",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "pyarrow",
    "tensorrt-cu13",
    "tensorrt-rtx-cu13-bindings",
    "tokenizers",
    "torch",
)


@dataclasses.dataclass
class Opened:
    """The graphs that a process runs, once they are open."""

    graphs: Graphs | None = None


def write_summary(folder: OutputFolder, job: Job, wanted: Survey, pulse: Pulse, graphs: Graphs | None) -> None:
    """Write the summary of all parts that are there, of this share or of others, and of what this process did.

    Args:
        pulse: the last one of the process; it says how it ended.

    Raises:
        OSError: it cannot be written, or a part not read.
    """
    total, failed = by_records(folder, job.record.fingerprint, len(wanted.parts))
    errors = sum((count_kinds(_errors(folder, number)) for number in failed), Counter[str]())
    scanned, now = int(pulse.scanned), datetime.now(UTC)
    record = {
        "complete": folder.complete,
        "state": pulse.state,
        "error": None if pulse.error is None else {"line": pulse.error, "exit_code": pulse.exit_code},
        "run_id": job.record.fingerprint,
        "model": {"id": job.bundle.model_id, "digest": job.bundle.model_digest, "bundle": job.bundle.digest},
        "rows": wanted.census.rows,
        "selection": job.manifest.selection or None,
        "parts": {"all": len(wanted.parts), "done": len(folder.parts())},
        "images": {
            "all": wanted.census.images,
            **{name: getattr(total, name) for name in ("ok", "error", "screened", "truncated", "given", "sampled")},
        },
        "errors": dict(errors.most_common()),
        "last_process": {
            "share": job.share.name,
            "began": _text(now - timedelta(seconds=pulse.seconds)),
            "ended": _text(now),
            "seconds": round(pulse.seconds, 3),
            "images": scanned,
            "images_per_second": round(scanned / pulse.seconds, 6) if pulse.seconds else None,
            "engine": job.execution.engine,
            "device": None if graphs is None else graphs.device,
            "graphs": {} if graphs is None else dict(graphs.loaded),
        },
        "versions": _versions(),
    }
    with folder.store.writing(layout.SUMMARY) as stream:
        stream.write(json.dumps(record, indent=1).encode())


def by_records(folder: OutputFolder, fingerprint: str, count: int) -> tuple[Tally, list[int]]:
    """What the parts of a run say of themselves: all their images, and the numbers of those with errors.

    Args:
        count: parts of the whole run.
    """
    there = sorted(number for number in folder.parts() if number < count)
    look = functools.partial(part_record, folder, fingerprint=fingerprint.encode())
    total, failed = Tally(), []
    for number, record in zip(there, in_order(folder.store, look, there), strict=True):
        if record is None:
            continue
        total += record.tally
        if record.tally.error:
            failed.append(number)
    return total, failed


def _errors(folder: OutputFolder, number: int) -> list[str | None]:
    """The first error of each image of a part that failed."""
    with parquet(folder.store, layout.results_part(number)) as file:
        table = file.read(["row", "seed", "status", "error"], use_threads=False)
    found: dict[tuple[int, int], str | None] = {}
    for row, seed, status, error in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if status == "error":
            found.setdefault((row, seed), error)
    return list(found.values())


def _versions() -> dict[str, Any]:
    found = {package: installed_version(package) for package in _PACKAGES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version for package, version in found.items() if version is not None},
    }


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
