"""What an output folder holds: the settings of its run. The same command continues it, a different one is refused.

The record is `OUT/_memscan/run.json`; every result file repeats it, so that it can be lost.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.records import RecordError, check_range, parse_json, read_record, shown
from memscan.scanner.results import layout
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.torn import Torn, parquet
from memscan.scanner.terminal import brief

_KEY = b"memscan.run"
_DIGEST_SHOWN = 12
_VALUE_SHOWN, _CHANGES_SHOWN = 200, 8


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The identity of a run, and how it cuts the manifest.

    `settings` are the parts of its fingerprint; `files` holds the SHA-256 of each of the bundle's files as they were
    used, and `verified` says whether they were compared with those that the bundle lists. A part has at most
    `part_rows` rows and `part_images` images. `selection` says which of the manifest's rows were chosen, "" for all.
    `save_maps` and `save_images` say what is kept beside the results: it may be asked for later.
    """

    settings: dict[str, Any]
    fingerprint: str
    files: dict[str, str]
    verified: bool
    part_rows: int
    part_images: int
    schema_version: int
    version: str
    selection: str = ""
    save_maps: bool = False
    save_images: bool = False

    def __post_init__(self) -> None:
        for name in ("part_rows", "part_images"):
            check_range(name, getattr(self, name), 1, 2**53)

    def keeping(self, other: "RunRecord") -> "RunRecord":
        """The record of a run that keeps what either of two keeps."""
        return dataclasses.replace(
            self,
            save_maps=self.save_maps or other.save_maps,
            save_images=self.save_images or other.save_images,
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def adopt_record(folder: OutputFolder, wanted: RunRecord) -> RunRecord:
    """The record to work by: that of the run which the folder holds, or `wanted`, written down now, if it holds none.

    Maps and images that are `wanted` are kept from now on, beside those that the run keeps already.

    Raises:
        ResumeRefused: the folder holds a run with other settings.
    """
    held = held_record(folder, wanted)
    if held is None and not folder.store.create(layout.RECORD, wanted.to_json().encode()):
        held = held_record(folder, wanted)  # somebody else's, who was faster
    adopted = wanted if held is None else held.keeping(wanted)
    is_readable = _recorded(folder) is not None
    if not is_readable:
        folder.store.retract(layout.RECORD)
    if not is_readable or adopted != (held or wanted):
        with folder.store.writing(layout.RECORD) as stream:
            stream.write(adopted.to_json().encode())
    return adopted


def held_record(folder: OutputFolder, wanted: RunRecord) -> RunRecord | None:
    """The record of the run that the folder holds, if any, and if it is the one `wanted`.

    Raises:
        ResumeRefused: the folder holds a run with other settings, or of another version of memscan.
    """
    held = _recorded(folder) or _repeated(folder)
    if held is None:
        return None
    version = held.get("schema_version")
    if version != wanted.schema_version:
        raise ResumeRefused(
            f"{folder.path} holds another run: schema_version was {shown(version)} and is {wanted.schema_version} now: "
            "choose another --out"
        )
    try:
        record = read_record(RunRecord, held)
    except RecordError as error:
        raise ResumeRefused(
            f"{folder.path} holds a run of another version of memscan, or one whose record is damaged ({error}): "
            "choose another --out"
        ) from error
    _refuse_other(folder, record, wanted)
    return record


def _recorded(folder: OutputFolder) -> dict[str, Any] | None:
    try:
        with folder.store.open(layout.RECORD) as stream:
            return _object(stream.read())
    except FileNotFoundError:
        return None


def _repeated(folder: OutputFolder) -> dict[str, Any] | None:
    for number in sorted(folder.parts()):
        try:
            with parquet(folder.store, layout.results_part(number)) as file:
                found = _object((file.schema_arrow.metadata or {}).get(_KEY, b""))
        except Torn:
            continue
        if found is not None:
            return found
    return None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(text)
    except RecordError:
        return None
    return value if isinstance(value, dict) else None


def _refuse_other(folder: OutputFolder, held: RunRecord, wanted: RunRecord) -> None:
    changes = _changes(held.settings, wanted.settings)
    if not changes:  # of another bundle, all files are others
        changes = [f"the bundle's file {change}" for change in _changes(held.files, wanted.files)]
    if held.selection != wanted.selection:
        changes.append(f"its rows were {brief(held.selection or 'all')} and are {brief(wanted.selection or 'all')} now")
    if changes:
        more = [f"{len(changes) - _CHANGES_SHOWN} more"] if len(changes) > _CHANGES_SHOWN else []
        said = "; ".join([*changes[:_CHANGES_SHOWN], *more])
        raise ResumeRefused(f"{folder.path} holds another run: {said}: choose another --out")


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{brief(name)} was {_shown(old.get(name))} and is {_shown(new.get(name))} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:_DIGEST_SHOWN]}..."
    return brief(json.dumps(value), _VALUE_SHOWN)
