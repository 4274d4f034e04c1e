"""From JSON to frozen dataclasses, strictly: types, lengths, choices and finiteness are those of the annotations.

What was written by an export or a run is read back by another process, years later or from another hand. Python's own
JSON reader takes NaN, and a dataclass takes anything: a threshold that is NaN would silently find nothing.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

Record = TypeVar("Record")

MAX_DEPTH = 32
"""Of nested lists and objects: no record of ours has more than five."""

_SHOWN = 40
_NAMES = {float: "a number", int: "an integer", str: "a text", bool: "true or false"}


class RecordError(ValueError):
    """A value does not fit; the text says where, as a path into the record, and what was expected."""


def parse_json(text: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        RecordError: no JSON, a constant that JSON does not have (NaN, Infinity), a key given twice, half a surrogate
            pair, or nesting deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(f"no JSON ({str(error).splitlines()[0]})") from error
    _check_depth(value)
    _check_texts(value)
    return value


def read_record(kind: type[Record], value: Any, where: str = "") -> Record:
    """`value` as the dataclass `kind`, whose fields may be numbers, texts, Literals, tuples, dictionaries by text,
    unions with None, other such dataclasses, and unions of those that a field `kind` tells apart, whose default is its
    own. Fields with a default may be missing; no others may be there.

    Args:
        where: the path of `value` in its record, for the message.

    Raises:
        RecordError: something is missing, too many, of another type, not finite, or refused by the dataclass itself.
    """
    if not isinstance(value, Mapping):
        raise _unexpected(value, "an object", where)
    hints = typing.get_type_hints(kind)
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init}  # type: ignore[arg-type]
    for name in value:
        if name not in fields:
            raise RecordError(f"{_join(where, name)} is not known")
    given = {}
    for name, field in fields.items():
        if name in value:
            given[name] = _read(hints[name], value[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(where, name)} is missing")
    try:
        return kind(**given)
    except RecordError:
        raise
    except ValueError as error:  # the dataclass knows its ranges
        raise RecordError(f"{where or 'the record'}: {error}") from error


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type[Any], hint), value, where)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise _unexpected(value, "one of " + ", ".join(map(repr, arguments)), where)
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _unexpected(value, "an object", where)
        key_hint, hint = arguments
        return {_read(key_hint, key, where): _read(hint, one, _join(where, key)) for key, one in value.items()}
    return _read_plain(hint, value, where)


def _read_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    kinds = [one for one in choices if one is not type(None)]
    return _read(kinds[0] if len(kinds) == 1 else _of_kind(kinds, value, where), value, where)


def _of_kind(choices: list[Any], value: Any, where: str) -> Any:
    """Which of several dataclasses the field `kind` of a value says that it is; the first, if it says nothing."""
    if not isinstance(value, Mapping) or "kind" not in value:
        return choices[0]
    kinds = {choice.kind: choice for choice in choices}
    kind = _read(Literal[tuple(kinds)], value["kind"], _join(where, "kind"))
    return kinds[kind]


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _unexpected(value, "a list", where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise RecordError(f"{where} has {len(value)} entries, not {len(arguments)}")
    pairs = zip(arguments, value, strict=True)
    return tuple(_read(hint, one, f"{where}[{index}]") for index, (hint, one) in enumerate(pairs))


def _read_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        value = float(value)
    if type(value) is not hint:
        raise _unexpected(value, _NAMES[hint], where)
    if hint is float and not math.isfinite(value):
        raise _unexpected(value, "a finite number", where)
    return value


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError, which names it, if a value is outside [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, not between {low} and {high}")


def _refuse_constant(name: str) -> Any:
    raise RecordError(f"{name} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RecordError("a key is given twice in one object")
    return found


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecordError(f"nested more than {MAX_DEPTH} deep")
        inner = [one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list)]
        layer = [each for one in inner for each in one if isinstance(each, dict | list)]


def _check_texts(value: Any) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and not one.isascii():
            try:
                one.encode()
            except UnicodeEncodeError as error:
                raise RecordError(f"half a surrogate pair in {shown(one)}") from error


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, its end as dots if it is long."""
    text = repr(value[:_SHOWN] if isinstance(value, str | list | tuple) else value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _join(where: str, name: object) -> str:
    text = str(name)
    if len(text) > _SHOWN or not text.isprintable():
        text = shown(text)
    return f"{where}.{text}" if where else text


def _unexpected(value: Any, expected: str, where: str) -> RecordError:
    return RecordError(f"{where or 'the record'} is {shown(value)}, not {expected}")
