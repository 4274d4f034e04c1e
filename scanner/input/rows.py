"""One manifest row: from the raw values of a file to the samples it asks for, or to why it cannot be scanned.

A row that is wrong never stops a scan: it becomes `Rejected`, whose text is the `error` column of its results. A row is
accepted or rejected as a whole, with all of its seeds.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from memscan.scanner.errors import RowError
from memscan.scanner.samples import Rejected, Sample

MAX_SEED = 2**63 - 1
"""Seeds are stored as int64, the widest integer that every reader of Parquet handles alike."""

_EXACT_FLOAT = 2**53


@dataclasses.dataclass(frozen=True)
class RawRow:
    """The values of one row as its file gives them; `problem` says why the file could not give them.

    `folder` is where relative image paths start. `carried` holds Arrow scalars where the file has Arrow types, so that
    no value changes on its way to the results.
    """

    folder: Path
    prompt: Any = None
    seed: Any = None
    id: Any = None
    image: Any = None
    carried: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A parsed row: one item for each of its seeds."""

    items: tuple[Sample, ...] | tuple[Rejected, ...]

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything that the row's results depend on, and of what is carried through."""
        first = self.items[0]
        fate: str | None
        if isinstance(first, Rejected):
            fate = first.error
        else:
            fate = None if first.image is None else hashlib.sha256(first.image).hexdigest()
        carried = {name: _exact(value) for name, value in first.carried.items()}
        parts = [first.prompt, [item.seed for item in self.items], first.id, carried, fate]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


def parse_row(index: int, raw: RawRow, *, read_image: bool = True) -> Row:
    """Check a raw row, and read its image if it brings one.

    Args:
        index: the row's index in the whole manifest.
        read_image: False leaves images unread and unchecked, for passes that only count.
    """
    identity = _identity(raw.id)
    seeds: tuple[int, ...] = (0,)
    image: bytes | None = None
    error: str | None = None
    try:
        if raw.problem is not None:
            raise RowError(raw.problem)
        seeds = _seeds(raw.seed)
        _check_prompt(raw.prompt)
        if read_image:
            image = _image(raw.image, raw.folder)
    except RowError as problem:
        error = " ".join(str(problem).split())

    if error is not None:
        prompt = raw.prompt if isinstance(raw.prompt, str) else None
        return Row(tuple(Rejected(index, seed, prompt, error, identity, raw.carried) for seed in seeds))
    return Row(tuple(Sample(index, seed, raw.prompt, identity, image, raw.carried) for seed in seeds))


def _check_prompt(value: Any) -> None:
    if value is None:
        raise RowError("the prompt is null")
    if not isinstance(value, str):
        raise RowError(f"the prompt is not text but {_shown(value)}")
    if not value.strip():
        raise RowError("the prompt is empty")


def _seeds(value: Any) -> tuple[int, ...]:
    """Distinct seeds in the order given: the same seed twice would be the same image, and the same key, twice."""
    if value is None or value != value:  # NaN is how pandas writes a missing number
        return (0,)
    if not isinstance(value, list):
        return (_seed(value),)
    if not value:
        raise RowError("the list of seeds is empty")
    return tuple(dict.fromkeys(_seed(each) for each in value))


def _seed(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"the seed is not an integer but {_shown(value)}")
    if not 0 <= value <= MAX_SEED:
        raise RowError(f"the seed {value} is outside 0 to {MAX_SEED}")
    return value


def _identity(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return None if value is None else str(value)


def _image(value: Any, folder: Path) -> bytes | None:
    """Encoded bytes from bytes, a path, or the `{bytes, path}` pair that Hugging Face datasets store."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RowError(f"the image is neither bytes nor a path but {_shown(value)}")
    try:
        return (folder / value).read_bytes()
    except FileNotFoundError:
        raise RowError(f"no such image: {value}") from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise RowError(f"the image {value} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RowError(f"the image path {_shown(value)} is no path: {error}") from None


def _exact(value: Any) -> str:
    """A text that differs where values do, also where Python has no such type (nanoseconds)."""
    if isinstance(value, pa.Scalar):
        value = value.value if pa.types.is_temporal(value.type) else value.as_py()
    return repr(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
