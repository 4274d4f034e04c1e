"""What an output folder holds: the settings of its run. The same command continues it, a different one is refused.

The record is `OUT/_memscan/run.json`; every result file repeats it, so that it can be lost.
"""

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.results.folder import OutputFolder


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The identity of a run: `settings` are the parts of its fingerprint; `shard_rows` is how it cuts the manifest."""

    settings: dict[str, Any]
    fingerprint: str
    shard_rows: int
    schema_version: int
    version: str

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def adopt_record(folder: OutputFolder, wanted: RunRecord) -> RunRecord:
    """The record to work by: that of the run which the folder holds, or `wanted`, written down now, if it holds none.

    Raises:
        ResumeRefused: the folder holds a run with other settings.
    """
    held = held_record(folder, wanted)
    if held is not None:
        wanted = dataclasses.replace(wanted, shard_rows=held.shard_rows)
    if _recorded(folder) is None:
        with folder.writing(folder.record) as stream:
            stream.write(wanted.to_json().encode())
    return wanted


def held_record(folder: OutputFolder, wanted: RunRecord) -> RunRecord | None:
    """The record of the run that the folder holds, if any, and if it is the one `wanted`.

    Raises:
        ResumeRefused: the folder holds a run with other settings.
    """
    held = _recorded(folder) or _repeated(folder)
    if held is not None:
        _refuse_other(folder, held, wanted)
    return held


def _recorded(folder: OutputFolder) -> RunRecord | None:
    try:
        return RunRecord(**json.loads(folder.record.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _repeated(folder: OutputFolder) -> RunRecord | None:
    for part in folder.parts().values():
        try:
            metadata = pq.read_schema(part).metadata or {}
            return RunRecord(**json.loads(metadata[b"memscan.run"]))
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
            continue
    return None


def _refuse_other(folder: OutputFolder, held: RunRecord, wanted: RunRecord) -> None:
    old, new = (record.settings | {"schema_version": record.schema_version} for record in (held, wanted))
    changes = [
        f"{name} was {_shown(old, name)} and is {_shown(new, name)} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changes:
        raise ResumeRefused(f"{folder.path} holds another run: {'; '.join(changes)}: choose another --out")


def _shown(settings: dict[str, Any], name: str) -> str:
    value = settings.get(name)
    return f"{value[:12]}..." if name == "bundle" and isinstance(value, str) else json.dumps(value)
