"""Which files the tensors of an ONNX graph lie in, read from its bytes without the onnx package.

An ONNX file may say that a tensor's values lie in any other file, by a path. A runtime opens it: so each is checked
before any runtime sees the graph. Only the fields that can lead to a tensor are followed (onnx.proto, IR version 11),
and of those only the ones that hold the word by which a path is given: it stands unbroken in the bytes of each.
"""

import bisect
import mmap
from collections.abc import Iterator
from pathlib import Path

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""Message -> number of a field -> the message that it holds."""

_KEY, _VALUE = 1, 2
_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Content = bytes | mmap.mmap


class GraphError(ValueError):
    """The bytes are no ONNX graph."""


def external_files(graph: Path) -> set[str]:
    """The paths, relative to the graph's folder, of all files that tensors of `graph` lie in.

    Raises:
        GraphError: the file is no protocol buffer, or a path in it is no text.
    """
    with graph.open("rb") as stream:
        if not stream.seek(0, 2):
            return set()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return set(_locations(content))


def _locations(content: _Content) -> Iterator[str]:
    words = list(_places(content, _LOCATION))
    waiting = [("model", 0, len(content))]
    while waiting:
        kind, start, stop = waiting.pop()
        values: dict[int, bytes] = {}
        for number, first, last in _fields(content, start, stop):
            if kind == "entry":
                values[number] = content[first:last]
            elif number in _CHILDREN[kind] and _holds(words, first, last):
                waiting.append((_CHILDREN[kind][number], first, last))
        if kind == "entry" and values.get(_KEY) == _LOCATION:
            try:
                yield values.get(_VALUE, b"").decode()
            except UnicodeDecodeError as error:
                raise GraphError("the path of a tensor is no text") from error


def _places(content: _Content, word: bytes) -> Iterator[int]:
    place = content.find(word)
    while place >= 0:
        yield place
        place = content.find(word, place + 1)


def _holds(words: list[int], first: int, last: int) -> bool:
    """Whether one of the places `words`, which ascend, begins within a range."""
    index = bisect.bisect_left(words, first)
    return index < len(words) and words[index] < last


def _fields(content: _Content, place: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that hold bytes: their numbers, and where their contents begin and end."""
    while place < stop:
        tag, place = _varint(content, place, stop)
        if tag >> 32:  # other readers would drop the upper bits, and see another field
            raise GraphError("the number of a field is too large")
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, place = _varint(content, place, stop)
        elif wire == _FIXED64:
            place += 8
        elif wire == _FIXED32:
            place += 4
        elif wire == _BYTES:
            length, place = _varint(content, place, stop)
            if length > stop - place:
                raise GraphError("it is cut off")
            yield number, place, place + length
            place += length
        else:
            raise GraphError(f"wire type {wire} is none of a protocol buffer's")
    if place > stop:
        raise GraphError("it is cut off")


def _varint(content: _Content, place: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while place < stop and shift < 64:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise GraphError("it is cut off")
