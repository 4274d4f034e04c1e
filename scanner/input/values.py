"""Values of Arrow columns as Python objects. None of this raises: what a row cannot use comes out as `Unreadable`.

Text is read as bytes and decoded value by value, because one invalid value must not cost its neighbours.
"""

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memscan.scanner.input.rows import Unreadable, bytes_as_text
from memscan.scanner.terminal import brief

types = pa.types

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    return (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values without what only says how they are stored: extensions, dictionaries and views."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_list_view(kind) or types.is_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def is_carried(kind: pa.DataType) -> bool:
    """Whether columns of a type can be carried: flat ones, and lists of what is stored as it is, but not of times."""
    if not is_list(kind):
        return not types.is_nested(plain(kind))
    inner = kind.value_type
    is_stored_otherwise = isinstance(inner, pa.BaseExtensionType) or types.is_dictionary(inner)
    return not (types.is_nested(inner) or types.is_temporal(inner) or is_stored_otherwise)


def texts(array: pa.Array) -> list[Any]:
    """Text, for prompts."""
    return _each(array, lambda flat: [_decoded(one) for one in _as_bytes(flat)])


def numbers(array: pa.Array) -> list[Any]:
    """Numbers and lists of them, for seeds."""
    return _each(array, lambda flat: flat.to_pylist())


def ids(array: pa.Array) -> list[Any]:
    """Texts and numbers: UUIDs in canonical form, times in ISO 8601 with all digits but closing zeros."""
    return _each(array, _ids)


def images(array: pa.Array) -> list[Any]:
    """Bytes, paths, and dictionaries of both."""
    return _each(array, _images)


def carried(array: pa.Array, kind: pa.DataType) -> list[Any]:
    """Scalars of the plain type `kind`, which keep what Python has no type for."""
    return _each(array, lambda flat: _scalars(flat.cast(kind) if flat.type != kind else flat))


def _each(array: pa.Array, convert: Callable[[pa.Array], list[Any]]) -> list[Any]:
    """Convert; of a dictionary-encoded array, only what is used of its dictionary, once."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not isinstance(array, pa.DictionaryArray):
        return convert(array)
    used = pc.unique(array.indices.drop_null())
    words = dict(zip(used.to_pylist(), _each(array.dictionary.take(used), convert), strict=True))
    return [None if index is None else words[index] for index in array.indices.to_pylist()]


def _as_bytes(array: pa.Array) -> list[bytes | None]:
    if types.is_null(array.type):
        return [None] * len(array)
    flat: list[bytes | None] = array.cast(pa.large_binary()).to_pylist()
    return flat


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return Unreadable("is not UTF-8", bytes_as_text(value or b""))


def _scalars(array: pa.Array) -> list[Any]:
    if _is_valid(array):
        return [one if one.is_valid else None for one in array]
    why = Unreadable("is not UTF-8" if is_text(array.type) else f"is no valid {brief(str(array.type))}")
    checked = (array.slice(place, 1) for place in range(len(array)))
    return [_scalars(one)[0] if _is_valid(one) else why for one in checked]


def _is_valid(array: pa.Array) -> bool:
    try:
        (array.flatten() if is_list(array.type) else array).validate(full=True)  # of a list, its own values only
    except pa.ArrowInvalid:
        return False
    return True


def _ids(array: pa.Array) -> list[Any]:
    kind = array.type
    if is_text(kind):
        return [_decoded(one) for one in _as_bytes(array)]
    if is_bytes(kind):
        return [one and _bytes_id(one, kind) for one in _as_bytes(array)]
    if types.is_temporal(kind) and not types.is_interval(kind):
        stored = array.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
        return [None if one is None else _time_id(one, kind) for one in stored]
    if types.is_decimal(kind):
        return [None if one is None else format(one, "f") for one in array.to_pylist()]
    if types.is_primitive(kind) or types.is_null(kind):
        return list(array.to_pylist())
    return _unsuitable(array, f"is not a single value but {brief(str(kind))}")


def _bytes_id(value: bytes, kind: pa.DataType) -> str:
    return str(uuid.UUID(bytes=value)) if kind == pa.binary(16) else bytes_as_text(value)


def _time_id(value: int, kind: pa.DataType) -> str:
    if types.is_date32(kind):
        return str(np.datetime64(value, "D"))
    if types.is_date64(kind):
        return str(np.datetime64(value, "ms").astype("datetime64[D]"))
    if types.is_timestamp(kind):
        return _without_zeros(str(np.datetime64(value, kind.unit))) + ("Z" if kind.tz else "")
    digits = _DIGITS[kind.unit]
    seconds, part = divmod(abs(value), 10**digits)
    fraction = f".{part:0{digits}d}" if digits else ""
    if types.is_duration(kind):
        return f"{'-' if value < 0 else ''}PT{_without_zeros(f'{seconds}{fraction}')}S"
    return _without_zeros(f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}")


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _images(array: pa.Array) -> list[Any]:
    kind = array.type
    if is_text(kind):
        return [_decoded(one) for one in _as_bytes(array)]
    if is_bytes(kind):
        return list(_as_bytes(array))
    if types.is_null(kind):
        return [None] * len(array)
    if not types.is_struct(kind):
        return _unsuitable(array, f"is neither bytes nor a path but {brief(str(kind))}")
    members = {name: images(array.field(name)) for name in ("bytes", "path") if kind.get_field_index(name) >= 0}
    valid = array.is_valid().to_pylist()
    return [{name: each[place] for name, each in members.items()} if ok else None for place, ok in enumerate(valid)]


def _unsuitable(array: pa.Array, why: str) -> list[Any]:
    return [Unreadable(why) if ok else None for ok in array.is_valid().to_pylist()]
