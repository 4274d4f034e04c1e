"""A tokenizer's file that is damaged or hostile is one line; one that fails at a prompt costs that row alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.errors import BundleError, RowError
from memscan.scanner.model.text import Tokenizer, Tokens
from tests.analytic_bundle import write_analytic_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_analytic_bundle(tmp_path / "bundle")


class PanicException(BaseException):
    """As pyo3 has it: no Exception, and no module from which it could be imported."""


def nested(record: dict[str, Any]) -> None:
    inner: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(100):
        inner = {"type": "Sequence", "normalizers": [inner]}
    record["normalizer"] = inner


def without_model(record: dict[str, Any]) -> None:
    del record["model"]


def wrong_vocabulary(record: dict[str, Any]) -> None:
    record["model"]["vocab"] = [1, 2]


def negative_id(record: dict[str, Any]) -> None:
    record["model"]["vocab"]["<pad>"] = -1


@pytest.mark.parametrize("change", [nested, without_model, wrong_vocabulary, negative_id])
def test_malformed_record_is_one_line(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    file = bundle.file("tokenizer.json")
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"^[^\n]*tokenizer\.json cannot be read \([^\n]*\): export the model again$"):
        Tokenizer(open_bundle(bundle.path, verify=False))


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b"NaN", b"[" * 100_000], ids=range(6))
def test_what_is_no_tokenizer_is_one_line(bundle: Bundle, content: bytes) -> None:
    bundle.file("tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"^[^\n]*tokenizer\.json cannot be read \([^\n]*\): export the model again$"):
        Tokenizer(open_bundle(bundle.path, verify=False))


def test_a_panic_of_the_library_is_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panicking:
        @staticmethod
        def from_buffer(content: bytes) -> None:
            raise PanicException("index out of bounds")

    monkeypatch.setattr(tokenizers, "Tokenizer", Panicking)
    with pytest.raises(BundleError, match=r"cannot be read \(the tokenizer failed: index out of bounds\): export"):
        Tokenizer(bundle)


def test_a_prompt_that_a_tokenizer_cannot_spell_is_a_bad_row(bundle: Bundle) -> None:
    file = bundle.file("tokenizer.json")
    record = json.loads(file.read_text())
    del record["model"]["vocab"]["<unk>"]
    file.write_text(json.dumps(record))
    tokenizer = Tokenizer(open_bundle(bundle.path, verify=False))
    with pytest.raises(RowError, match=r"^the prompt cannot be tokenized: "):
        tokenizer("unheard-of")
    known = next(word for word in record["model"]["vocab"] if word.isalpha())
    alone, failed = tokenizer.each([known, "unheard-of"])
    assert isinstance(alone, Tokens) and str(failed).startswith("the prompt cannot be tokenized: ")


def test_other_ends_of_the_process_are_left_alone(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        @staticmethod
        def from_buffer(content: bytes) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(tokenizers, "Tokenizer", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Tokenizer(bundle)
