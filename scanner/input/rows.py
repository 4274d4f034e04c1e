"""One manifest row: from the raw values of a file to the samples it asks for, or to why it cannot be scanned.

A row that is wrong never stops a scan: it becomes `Rejected`, whose text is the `error` column of its results. A row is
accepted or rejected as a whole, with all of its seeds. An image that is null, NaN or an empty text is none: one is
sampled.
"""

import dataclasses
import decimal
import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from memscan.scanner.errors import RowError
from memscan.scanner.input.image_files import MAX_IMAGE, read_image_file
from memscan.scanner.place import Place
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.terminal import brief, printable

MAX_SEED = 2**63 - 1
"""Seeds are stored as int64, the widest integer that every reader of Parquet handles alike."""

MAX_PROMPT = 100_000
"""Bytes of UTF-8 that a prompt may have: hundreds of times what text encoders read, and no burden to a tokenizer."""

CONDITIONS = ("condition_image", "condition_mask")
"""What a row can show a denoiser that takes more than latents."""

_EXACT_FLOAT = 2**53
_PICTURE_DIGITS = 32


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A value that its file holds, but no row can use: `why` completes "the prompt ..."; `text` can be shown."""

    why: str
    text: str | None = None


class RawRow(NamedTuple):
    """The values of one row as its file gives them; `problem` says why the file could not give them.

    `folder` is where image paths start, and what they cannot leave. `carried` holds Arrow scalars where the file has
    Arrow types, so that no value changes on its way to the results.
    """

    folder: Place
    prompt: Any = None
    seed: Any = None
    id: Any = None
    image: Any = None
    condition_image: Any = None
    condition_mask: Any = None
    carried: Mapping[str, Any] = MappingProxyType({})
    problem: str | None = None

    @property
    def image_given(self) -> bool:
        """Whether the row brings an image, be it a bad one; if not, one is sampled."""
        return _is_given(self.image)

    @property
    def conditions(self) -> dict[str, Any]:
        """What the row shows the denoiser, by its role."""
        shown = {role: getattr(self, role) for role in CONDITIONS}
        return {role: value for role, value in shown.items() if _is_given(value)}


class Row(NamedTuple):
    """A parsed row: one item for each of its seeds.

    `given` is the digest of what the row says and its items do not: its pictures or the paths of them, and values that
    no row can use. `picture` is that of the pictures that were read (half a SHA-256, hex), None if there are none.
    """

    items: tuple[Sample, ...] | tuple[Rejected, ...]
    given: str = ""
    picture: str | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of what the row asks for, and of what is carried through: what becomes of it is not in it.

        It is that of a JSON text, `[prompt, seeds, id, carried, given]`.
        """
        first = self.items[0]
        seeds = ", ".join([str(item.seed) for item in self.items])
        carried = ", ".join([f"{_quoted(name)}: {_quoted(_exact(value))}" for name, value in first.carried.items()])
        said = f"{_quoted(first.prompt)}, [{seeds}], {_quoted(first.id)}, {{{carried}}}, {_quoted(self.given)}"
        return hashlib.sha256(f"[{said}]".encode()).digest()


class Verdict(NamedTuple):
    """What a raw row asks for: its seeds, and the bytes of its pictures if they were read; or why it is rejected.

    `usable` says that nothing but the pictures can be wrong with it.
    """

    seeds: tuple[int, ...]
    image: bytes | None = None
    error: str | None = None
    usable: bool = True
    shown: Mapping[str, bytes | None] = MappingProxyType({})


def parse_row(index: int, raw: RawRow, *, read_image: bool = True) -> Row:
    """Check a raw row, and read the pictures that it brings.

    Args:
        index: the row's index in the whole manifest.
        read_image: False opens no image file, for passes that only compare.
    """
    seeds, image, error, usable, shown = judge(raw, read_image=read_image)
    identity, image_given = _identity(raw.id), raw.image_given
    brings = image_given or shown or (error is not None and raw.conditions)
    said = _given(raw, usable) if brings or not usable else _NOTHING_GIVEN
    if error is not None:
        prompt = raw.prompt if isinstance(raw.prompt, str) and _flaw(raw.prompt) is None else None
        given = image_given or (None if raw.problem else False)
        return Row(tuple([Rejected(index, seed, prompt, error, identity, raw.carried, given) for seed in seeds]), said)
    conditions = [shown.get(role) for role in CONDITIONS]
    samples = [
        Sample(index, seed, raw.prompt, identity, image, raw.carried, image_given, None, *conditions) for seed in seeds
    ]
    return Row(tuple(samples), said, None if image is None and not shown else _of_pictures({"image": image, **shown}))


def judge(raw: RawRow, *, read_image: bool = False) -> Verdict:
    """What a raw row asks for, or why it is rejected: all that a pass needs which only counts."""
    if _is_plain(raw):
        return Verdict((0 if raw.seed is None else raw.seed,))
    seeds: tuple[int, ...] = (0,)
    usable = False
    try:
        if raw.problem is not None:
            raise RowError(raw.problem)
        seeds = _seeds(raw.seed)
        _check_prompt(raw.prompt)
        if isinstance(raw.id, Unreadable):
            raise RowError(f"the id {raw.id.why}")
        usable = True
        image = _image(raw.image, raw.folder, read_image) if raw.image_given else None
        shown = {role: _shown_image(role, value, raw.folder, read_image) for role, value in raw.conditions.items()}
        return Verdict(seeds, image, shown=shown)
    except RowError as problem:
        return Verdict(seeds, None, printable(" ".join(str(problem).split())), usable)


def _is_plain(raw: RawRow) -> bool:
    """Whether a row is of the usual kind, in which nothing can be wrong: the others are looked at more closely."""
    prompt, seed = raw.prompt, raw.seed
    return (
        raw.problem is None
        and type(prompt) is str
        and prompt.isascii()
        and len(prompt) <= MAX_PROMPT
        and prompt.strip() != ""
        and (seed is None or (type(seed) is int and 0 <= seed <= MAX_SEED))
        and raw.image is raw.condition_image is raw.condition_mask is None
        and not isinstance(raw.id, Unreadable)
    )


def parsed_seed(text: str) -> Any:
    """The seed or list of seeds that a text says; the text itself if it says none, None if it is empty."""
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return text


def bytes_as_text(value: bytes) -> str:
    """The text that bytes are, if they are UTF-8; otherwise, and for controls, with backslash escapes."""
    return printable(value.decode("utf-8", "backslashreplace"))


def _check_prompt(value: Any) -> None:
    if value is None:
        raise RowError("the prompt is null")
    if isinstance(value, Unreadable):
        raise RowError(f"the prompt {value.why}")
    if not isinstance(value, str):
        raise RowError(f"the prompt is not text but {_shown(value)}")
    if not value.strip():
        raise RowError("the prompt is empty")
    if flaw := _flaw(value):
        raise RowError(f"the prompt {flaw}")


def _flaw(text: str) -> str | None:
    """Why a text can be no prompt and is kept out of the results; half surrogates are what is no UTF-8 in a shell."""
    try:
        is_long = len(text) > MAX_PROMPT or len(text.encode()) > MAX_PROMPT
    except UnicodeEncodeError:
        return "is not UTF-8"
    return f"has more than {MAX_PROMPT} bytes" if is_long else None


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
    if isinstance(value, decimal.Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"the seed is not an integer but {_shown(value)}")
    if not 0 <= value <= MAX_SEED:
        raise RowError(f"the seed {brief(str(value), 60)} is outside 0 to {MAX_SEED}")
    return value


def _identity(value: Any) -> str | None:
    if isinstance(value, bytes):
        return bytes_as_text(value)
    if isinstance(value, Unreadable):
        return value.text
    return None if value is None else str(value)


def _image(value: Any, folder: Place, read: bool) -> bytes | None:
    """Encoded bytes from bytes, a path, or the `{bytes, path}` pair that Hugging Face datasets store."""
    if isinstance(value, dict):
        value = _member(value)
    if isinstance(value, Unreadable):
        raise RowError(f"the image {value.why}")
    if isinstance(value, bytes):
        if len(value) > MAX_IMAGE:
            raise RowError(f"the image has {len(value)} bytes, more than {MAX_IMAGE}")
        return value
    if not isinstance(value, str):
        raise RowError(f"the image is neither bytes nor a path but {_shown(value)}")
    return read_image_file(value, folder) if read else None


def _shown_image(role: str, value: Any, folder: Place, read: bool) -> bytes | None:
    try:
        return _image(value, folder, read)
    except RowError as error:
        raise RowError(f"{role}: {error}") from error


def _of_pictures(read: Mapping[str, bytes | None]) -> str | None:
    """The digest of what was read; of an image alone, its own."""
    digests = {role: _digest(content) for role, content in read.items() if content is not None}
    if not digests:
        return None
    whole = digests["image"] if [*digests] == ["image"] else _digest(json.dumps(digests).encode())
    return whole[:_PICTURE_DIGITS]


def _member(pair: Mapping[str, Any]) -> Any:
    content, path = pair.get("bytes"), pair.get("path")
    if isinstance(content, str):
        raise RowError("the image's bytes are text: give a path, or Parquet with bytes")
    if not content and not path:
        raise RowError("the image has neither bytes nor a path")
    return content or path


def _given(raw: RawRow, usable: bool) -> str:
    """The digest of `Row.given`; values are `usable` unless something else than the image is wrong with them."""
    parts = [_reference(raw.image) if raw.image_given else None]
    if raw.conditions:
        parts.append({role: _reference(value) for role, value in raw.conditions.items()})
    if not usable:
        parts += [raw.problem, _exact(raw.prompt), _exact(raw.seed)]
    return _digest(json.dumps(parts).encode())


def _is_given(picture: Any) -> bool:
    missing = picture is None or picture != picture  # NaN is how pandas writes what is missing
    return not (missing or (isinstance(picture, str) and not picture.strip()))


def _reference(image: Any) -> Any:
    if isinstance(image, dict):
        return {str(name): _reference(value) for name, value in image.items()}
    if isinstance(image, bytes):
        return [_digest(image)]
    return image if isinstance(image, str) else _exact(image)


def _quoted(text: str | None) -> str:
    """As JSON has it."""
    return "null" if text is None else encode_basestring_ascii(text)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _exact(value: Any) -> str:
    """A text that differs where values do, also where Python has no such type (nanoseconds)."""
    if isinstance(value, pa.Scalar):
        value = value.value if pa.types.is_temporal(value.type) else value.as_py()
    return repr(value)


_NOTHING_GIVEN = _digest(json.dumps([None]).encode())
"""`_given` of a row that brings no image, and with which nothing is wrong."""


def _shown(value: Any) -> str:
    return brief(repr(value), 60)
