"""What a file of results says of its run, as those who read results need it.

memscan.latent_channels   number of latent channels
memscan.run               the record of the run: its mask's map and its score's column are read here
memscan.written           when the part was written, in UTC; a part of an earlier version may lack it
memscan.thresholds        list of {map, timestep, threshold}: the bundle's calibrated ones at the run's settings
memscan.clean_prompts     how many clean prompts p-values are ranks among; lacks where there are no p-values
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.records import RecordError, check_range, parse_json, read_record, shown
from memscan.scanner.results.part_file import WRITTEN
from memscan.scanner.results.schema import SCORE_COLUMNS

_PREFIX = "memscan."
_MOST_CHANNELS = 1024


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A calibrated threshold, in the collapse unit."""

    map: str
    timestep: int
    threshold: float


@dataclasses.dataclass(frozen=True)
class RunMetadata:
    """`mask_map` is one of the catalogue's maps, `score_name` one of the columns that a score can be.

    `settings` are the parts of the run's fingerprint, `version` is memscan's, `date` that of the part, YYYY-MM-DD;
    `clean_prompts` are those that p-values are ranks among, if there are p-values.
    """

    latent_channels: int
    mask_map: str
    score_name: str
    thresholds: tuple[Threshold, ...]
    version: str
    settings: dict[str, Any]
    date: str | None
    clean_prompts: int | None = None

    def __post_init__(self) -> None:
        if self.clean_prompts is not None:
            check_range("clean_prompts", self.clean_prompts, 1, 2**53)
        check_range("latent_channels", self.latent_channels, 1, _MOST_CHANNELS)
        if self.mask_map not in MAPS:
            raise ValueError(f"mask_map is {shown(self.mask_map)}, which this memscan does not know")
        if self.score_name not in SCORE_COLUMNS:
            raise ValueError(f"score_name is {shown(self.score_name)}, which this memscan does not know")


def read_run_metadata(metadata: Mapping[bytes, bytes]) -> RunMetadata:
    """Read the metadata of a Parquet file.

    Raises:
        KeyError: an entry lacks; its argument is the entry's name.
        RecordError: an entry is malformed.
    """
    run = _entry(metadata, "run")
    settings = run.get("settings") if isinstance(run, dict) else None
    if not isinstance(settings, dict):
        raise RecordError(f"run.settings is {shown(settings)}, not an object")
    said: dict[str, Any] = {name: settings[name] for name in ("mask_map", "score_name") if name in settings}
    said |= {"settings": settings, "date": _date(metadata)}
    if f"{_PREFIX}clean_prompts".encode() in metadata:
        said["clean_prompts"] = _entry(metadata, "clean_prompts")
    said |= {"version": run["version"]} if "version" in run else {}
    said |= {name: _entry(metadata, name) for name in ("latent_channels", "thresholds")}
    return read_record(RunMetadata, said)


def _entry(metadata: Mapping[bytes, bytes], name: str) -> Any:
    key = f"{_PREFIX}{name}"
    if key.encode() not in metadata:
        raise KeyError(key)
    try:
        return parse_json(metadata[key.encode()])
    except RecordError as error:
        raise RecordError(f"{name}: {error}") from error


def _date(metadata: Mapping[bytes, bytes]) -> str | None:
    text = metadata.get(WRITTEN)
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text.decode()).date().isoformat()
    except ValueError as error:
        raise RecordError(f"written is {shown(text)}, no time") from error
