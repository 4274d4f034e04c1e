"""Records are read strictly: each way in which JSON can disagree with a dataclass is one line that says where."""

import dataclasses
import re
from typing import Any, Literal

import pytest

from memscan.scanner.records import MAX_DEPTH, RecordError, parse_json, read_record


@dataclasses.dataclass(frozen=True)
class Inner:
    kind: Literal["hadamard", "rademacher"]
    count: int = 8

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count {self.count} is below 1")


@dataclasses.dataclass(frozen=True)
class Outer:
    scale: float
    name: str
    verified: bool
    size: tuple[int, int]
    many: tuple[float, ...]
    inner: Inner
    maybe: str | None
    files: dict[str, str]
    inners: tuple[Inner, ...] = ()


GOOD: dict[str, Any] = {
    "scale": 7,
    "name": "sd",
    "verified": True,
    "size": [4, 8],
    "many": [0.5, 1],
    "inner": {"kind": "hadamard"},
    "maybe": None,
    "files": {"a.onnx": "ff"},
    "inners": [{"kind": "rademacher", "count": 3}],
}


def test_good_record_becomes_the_dataclass() -> None:
    assert read_record(Outer, GOOD) == Outer(
        7.0, "sd", True, (4, 8), (0.5, 1.0), Inner("hadamard"), None, {"a.onnx": "ff"}, (Inner("rademacher", 3),)
    )
    assert type(read_record(Outer, GOOD).scale) is float


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": "7"}, "scale is '7', not a number"),
        ({"scale": True}, "scale is True, not a number"),
        ({"scale": float("nan")}, "scale is nan, not a finite number"),
        ({"scale": None}, "scale is None, not a number"),
        ({"scale": 2**60}, "scale is 1152921504606846976, not a number"),
        ({"name": 3}, "name is 3, not a text"),
        ({"verified": 1}, "verified is 1, not true or false"),
        ({"size": [4, 8.0]}, "size[1] is 8.0, not an integer"),
        ({"size": [4, True]}, "size[1] is True, not an integer"),
        ({"size": [4, 8, 8]}, "size has 3 entries, not 2"),
        ({"size": "48"}, "size is '48', not a list"),
        ({"many": [1, float("inf")]}, "many[1] is inf, not a finite number"),
        ({"inner": {"kind": "walsh"}}, "inner.kind is 'walsh', not one of 'hadamard', 'rademacher'"),
        ({"inner": {"kind": "hadamard", "count": 0}}, "inner: count 0 is below 1"),
        ({"inner": []}, "inner is [], not an object"),
        ({"inner": {}}, "inner.kind is missing"),
        ({"inner": {"kind": "hadamard", "seed": 1}}, "inner.seed is not known"),
        ({"maybe": 3}, "maybe is 3, not a text"),
        ({"files": {"a": 1}}, "files.a is 1, not a text"),
        ({"files": ["a"]}, "files is ['a'], not an object"),
        ({"inners": [{"kind": "hadamard"}, None]}, "inners[1] is None, not an object"),
        ({"name": ["x" * 100]}, "name is ['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..., not a text"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=f"^{re.escape(message)}$"):
        read_record(Outer, GOOD | changed)


def test_missing_field_without_a_default_is_named() -> None:
    with pytest.raises(RecordError, match=r"^files is missing$"):
        read_record(Outer, {name: value for name, value in GOOD.items() if name != "files"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"a": 1, "a": 2}', "a key is given twice"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than"),
        (b"[" * 100_000, "no JSON|nested"),
    ],
)
def test_what_is_no_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse_json(text)


def test_nesting_up_to_the_bound_is_read() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
