"""Prompts spelled word by word, against the same tokenizer given them whole."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import tokenizers

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.model.text import Tokenizer
from memscan.scanner.model.words import Words, spells_by_words

CLIP = json.loads((BUNDLE / "tokenizer.json").read_text())
"""The embedded model's, as transformers writes CLIP's."""


def tokenizer_of(record: Any) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(record))


WHOLE = tokenizer_of(CLIP)
WORDS = Words(WHOLE)


PIECES = [
    "a",
    "harbour",
    "isn't",
    "it's,",
    "50%",
    "<|endoftext|>",
    "x<|startoftext|>y",
    "'s",
    "--",
    "e\u0301",
    "\u212b",
]
BLANKS = [" ", "  ", "", "\t", "\u00a0", "\x1c", "\n "]


def prompts() -> Iterator[str]:
    chance = random.Random(0)
    for number in range(2000):
        pieces = chance.choices(PIECES, k=chance.randrange(6))
        yield "".join(piece + chance.choice(BLANKS if number % 2 else BLANKS[:3]) for piece in pieces)
        yield "".join(map(chr, chance.choices(range(32, 127 if number % 2 else 0x250), k=chance.randrange(40))))


def test_ids_are_those_of_the_whole_prompt() -> None:
    by_words = 0
    for prompt in prompts():
        ids = WORDS.spell(prompt)
        if ids is None:
            assert not (prompt.isascii() and prompt.isprintable()) or max(map(len, prompt.split())) > 64
        else:
            assert ids == WHOLE.encode(prompt).ids, prompt
            by_words += 1
    assert 1000 < by_words < 4000


def test_clip_is_spelled_by_words_and_is_what_the_embedded_model_has() -> None:
    assert spells_by_words(CLIP, WHOLE)
    spelled = Tokenizer(open_bundle(BUNDLE)).each(["a red harbour", "x" * 70, "a caf\u00e9"])
    for tokens, prompt in zip(spelled, ["a red harbour", "x" * 70, "a caf\u00e9"], strict=True):
        ids = WHOLE.encode(prompt).ids
        length = len(tokens.ids[0])
        assert tokens.ids[0][: min(len(ids), length) - 1].tolist() == ids[: length - 1][: min(len(ids), length) - 1]


def changed(path: str, value: Any) -> Any:
    record = json.loads(json.dumps(CLIP))
    *way, last = path.split(".")
    inner = record
    for step in way:
        inner = inner[int(step) if step.isdecimal() else step]
    inner[int(last) if last.isdecimal() else last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("normalizer.normalizers.1", {"type": "Strip", "strip_left": True, "strip_right": True}),
        ("normalizer", None),
        ("pre_tokenizer.pretokenizers.0.pattern.Regex", r"\s?\p{L}+"),
        ("pre_tokenizer.pretokenizers.0.behavior", "MergedWithNext"),
        ("pre_tokenizer.pretokenizers.1.add_prefix_space", True),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("model.dropout", 0.5),
        ("added_tokens.0.rstrip", True),
        ("added_tokens.0.single_word", True),
        ("added_tokens.0.content", "two words"),
    ],
)
def test_a_tokenizer_in_which_words_might_meet_is_given_whole_prompts(path: str, value: Any) -> None:
    record = changed(path, value)
    assert not spells_by_words(record, WHOLE)


def test_no_more_words_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memscan.scanner.model.words._MOST_WORDS", 3)
    words = Words(WHOLE)
    for number in range(10):
        assert words.spell(f"number {number}") == WHOLE.encode(f"number {number}").ids
        assert len(words._known) <= 3
