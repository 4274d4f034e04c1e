"""Which files the tensors of an ONNX graph lie in, read from its bytes without the onnx package.

An ONNX file may say that a tensor's values lie in any other file, by a path. A runtime opens it: so each is checked
before any runtime sees the graph. Only the fields that can lead to a tensor are followed (onnx.proto, IR version 11).
"""

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
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class GraphError(ValueError):
    """The bytes are no ONNX graph."""


def external_files(graph: Path) -> set[str]:
    """The paths, relative to the graph's folder, of all files that tensors of `graph` lie in.

    Raises:
        GraphError: the file is no protocol buffer, or a path in it is no text.
    """
    return set(_locations(memoryview(graph.read_bytes())))


def _locations(model: memoryview) -> Iterator[str]:
    waiting = [("model", model)]
    while waiting:
        kind, content = waiting.pop()
        values: dict[int, memoryview] = {}
        for number, value in _fields(content):
            if number in _CHILDREN[kind]:
                waiting.append((_CHILDREN[kind][number], value))
            elif kind == "entry":
                values[number] = value
        if kind == "entry" and bytes(values.get(_KEY, b"")) == b"location":
            try:
                yield bytes(values.get(_VALUE, b"")).decode()
            except UnicodeDecodeError as error:
                raise GraphError("the path of a tensor is no text") from error


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that hold bytes: their numbers and contents."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, place = _varint(content, place)
        elif wire == _FIXED64:
            place += 8
        elif wire == _FIXED32:
            place += 4
        elif wire == _BYTES:
            length, place = _varint(content, place)
            if length > end - place:
                raise GraphError("it is cut off")
            yield number, content[place : place + length]
            place += length
        else:
            raise GraphError(f"wire type {wire} is none of a protocol buffer's")
    if place > end:
        raise GraphError("it is cut off")


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(content) and shift < 64:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise GraphError("it is cut off")
