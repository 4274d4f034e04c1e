"""Tokenisation against the tokenizers of transformers, and encodings that are made once and never depend on a batch."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from memscan.scanner.bundle import Bundle
from memscan.scanner.bundle_parts import AestheticScores, Takes, Text, Tokenization
from memscan.scanner.errors import BundleError, RowError
from memscan.scanner.model.text import Conditioning, PromptEncoder, Tokenizer, Tokens
from tests.analytic_bundle import BOS, EOS, PAD, UNK, write_analytic_bundle
from tests.analytic_model import MAX_LENGTH
from tests.tiny_pipeline import save_pipeline

AWKWARD = [
    "",
    "a photo of a cat",
    "  two   spaces\tand\na newline ",
    "UPPER Case, punctuation!? (brackets) [1:2]",
    "caf\u00e9 na\u00efve \u732b \U0001f408 e\u0301",
    "it's 2024's 3.14",
    "<|endoftext|> inside",
    "a" * 300,
    "a cat " * 100,
]


class CountingEncoder:
    """Encodes ids to themselves, the baseline's negated, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], bool]] = []

    def encode_text(self, input_ids: Sequence[NDArray[np.int64]], *, baseline: bool = False) -> Conditioning:
        (ids,) = input_ids
        assert ids.shape == (1, MAX_LENGTH)
        self.calls.append((ids[0].tolist(), baseline))
        return {"encoder_hidden_states": ids[..., None].astype(np.float32) * (-1 if baseline else 1)}


def tokenization(file: str, theirs: CLIPTokenizer, max_length: int | None = None) -> Tokenization:
    length = max_length or theirs.model_max_length
    return Tokenization(file, length, theirs.pad_token_id, theirs.eos_token_id, theirs.bos_token_id)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "analytic")


@pytest.fixture(scope="module", params=[None, "!"], ids=["padded with the end token", "padded with !"])
def clip(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder of a CLIP tokenizer that spells every string."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    return save_pipeline(folder, pad_with=request.param) / "tokenizer"


@pytest.mark.parametrize("prompt", AWKWARD, ids=lambda prompt: repr(prompt[:12]))
def test_ids_equal_the_pipelines(bundle: Bundle, clip: Path, prompt: str) -> None:
    theirs = CLIPTokenizer.from_pretrained(clip)
    text = Text((tokenization("tokenizer.json", theirs),))
    tokens = Tokenizer(dataclasses.replace(bundle, path=clip, text=text))(prompt)

    (ids,) = tokens.ids
    assert ids.dtype == np.int64
    assert ids.tolist() == theirs(prompt, padding="max_length", truncation=True).input_ids
    assert tokens.truncated == (len(theirs(prompt).input_ids) > theirs.model_max_length)


@pytest.mark.parametrize(
    ("prompt", "ids", "truncated"),
    [
        ("", [BOS, EOS] + [PAD] * 6, False),
        ("zebra", [BOS, UNK, EOS] + [PAD] * 5, False),
        ("x x x x x x", [BOS] + [UNK] * 6 + [EOS], False),
        ("x x x x x x x", [BOS] + [UNK] * 6 + [EOS], True),
    ],
    ids=["empty", "padded", "just fits", "one too long"],
)
def test_a_prompt_is_truncated_only_when_it_does_not_fit(
    bundle: Bundle, prompt: str, ids: list[int], truncated: bool
) -> None:
    tokens = Tokenizer(bundle)(prompt)
    assert ([own.tolist() for own in tokens.ids], tokens.truncated) == ([ids], truncated)


@pytest.mark.parametrize("prompt", [*AWKWARD, "red! blue!", "!" * 30], ids=lambda prompt: repr(prompt[:12]))
def test_ids_for_two_text_encoders_equal_the_pipelines(
    bundle: Bundle, tiny_xl_pipeline: Path, tmp_path: Path, prompt: str
) -> None:
    """The second tokenizer pads with "!", and so spells that character differently."""
    theirs = [CLIPTokenizer.from_pretrained(tiny_xl_pipeline / folder) for folder in ("tokenizer", "tokenizer_2")]
    for name, tokenizer in zip(("tokenizer.json", "tokenizer_2.json"), theirs, strict=True):
        tokenizer.backend_tokenizer.save(str(tmp_path / name))
    text = Text(tuple(tokenization(*pair) for pair in zip(("tokenizer.json", "tokenizer_2.json"), theirs, strict=True)))
    tokens = Tokenizer(dataclasses.replace(bundle, path=tmp_path, text=text))(prompt)
    for ids, tokenizer in zip(tokens.ids, theirs, strict=True):
        assert ids.tolist() == tokenizer(prompt, padding="max_length", truncation=True).input_ids


def test_each_of_three_text_encoders_has_its_own_length_padding_and_end(
    bundle: Bundle, clip: Path, tiny_xl_pipeline: Path, tmp_path: Path
) -> None:
    """As of Stable Diffusion 3: two CLIPs and a longer third; a prompt is truncated where any of them cuts it."""
    theirs = [CLIPTokenizer.from_pretrained(clip)]
    theirs += [CLIPTokenizer.from_pretrained(tiny_xl_pipeline / folder) for folder in ("tokenizer", "tokenizer_2")]
    lengths = (6, 20, 30)
    rules = []
    for index, (tokenizer, length) in enumerate(zip(theirs, lengths, strict=True)):
        tokenizer.backend_tokenizer.save(str(tmp_path / f"{index}.json"))
        rules.append(tokenization(f"{index}.json", tokenizer, length))
    tokenize = Tokenizer(dataclasses.replace(bundle, path=tmp_path, text=Text(tuple(rules))))
    for prompt, truncated in (("a cat", False), ("a cat " * 5, True), ("a cat " * 100, True)):
        tokens = tokenize(prompt)
        assert tokens.truncated == truncated
        for ids, tokenizer, length in zip(tokens.ids, theirs, lengths, strict=True):
            expected = tokenizer(prompt, padding="max_length", truncation=True, max_length=length).input_ids
            assert ids.tolist() == expected


def test_a_prompt_that_is_no_unicode_is_the_rows_error(bundle: Bundle) -> None:
    with pytest.raises(RowError, match=r"^the prompt is not valid Unicode text$"):
        Tokenizer(bundle)("half a pair: \ud83d")


def test_prompts_together_have_the_tokens_that_each_has_alone(bundle: Bundle) -> None:
    """Other neighbours, other lengths, twice the same one, and one among them that is no text."""
    tokenizer = Tokenizer(bundle)
    good = [*AWKWARD, "a red mug", "x x x x x x x", "a red mug", ""]
    for prompts in (good, good[::-1], [good[0], "half a pair: \ud83d", *good[1:]], []):
        for prompt, tokens in zip(prompts, tokenizer.each(prompts), strict=True):
            if "half a pair" in prompt:
                assert str(tokens) == "the prompt is not valid Unicode text"
                continue
            alone = tokenizer(prompt)
            assert isinstance(tokens, Tokens) and tokens.truncated == alone.truncated
            np.testing.assert_array_equal(tokens.ids, alone.ids, strict=True)


def test_a_malformed_tokenizer_is_the_bundles_error(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read \(.+\): export the model again$"):
        Tokenizer(dataclasses.replace(bundle, path=tmp_path))


def test_each_prompt_is_encoded_once(bundle: Bundle) -> None:
    engine = CountingEncoder()
    encode, tokens = PromptEncoder(bundle, engine), Tokenizer(bundle)
    first = encode(tokens("a red mug"))
    assert encode(tokens("a rug")).cond is not first.cond
    assert encode(tokens("a red mug")) is first
    assert len(engine.calls) == 2


def test_a_baseline_without_a_text_encoder_shares_the_models_encoding(bundle: Bundle) -> None:
    encoded = PromptEncoder(bundle, CountingEncoder())(Tokenizer(bundle)("a rug"))
    assert encoded.baseline is encoded.cond


def test_a_baseline_with_a_text_encoder_has_its_own_encoding(bundle: Bundle) -> None:
    engine = CountingEncoder()
    encode = PromptEncoder(dataclasses.replace(bundle, baseline_has_text_encoder=True), engine)
    encoded = encode(Tokenizer(bundle)("a rug"))
    np.testing.assert_array_equal(encoded.baseline["encoder_hidden_states"], -encoded.cond["encoder_hidden_states"])
    assert [baseline for _, baseline in engine.calls] == [False, True]


def test_memory_of_prompts_is_bounded_by_bytes_and_forgets_the_longest_unused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokenizer(bundle)
    one = PromptEncoder(bundle, CountingEncoder())(tokens("a")).cond["encoder_hidden_states"].nbytes
    monkeypatch.setattr("memscan.scanner.model.text._CACHED_BYTES", 2 * one)
    engine = CountingEncoder()
    encode = PromptEncoder(bundle, engine)
    for prompt in ("a mug", "a rug", "a mug", "a city"):  # the city takes the place of the rug
        encode(tokens(prompt))
    assert len(engine.calls) == 3
    encode(tokens("a mug"))
    assert len(engine.calls) == 3
    encode(tokens("a rug"))
    assert len(engine.calls) == 4


def test_what_is_forgotten_is_counted_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that were taken off twice would let the memory grow for ever."""
    tokens = Tokenizer(bundle)
    one = PromptEncoder(bundle, CountingEncoder())(tokens("a")).cond["encoder_hidden_states"].nbytes
    monkeypatch.setattr("memscan.scanner.model.text._CACHED_BYTES", 2 * one)
    engine = CountingEncoder()
    encode = PromptEncoder(bundle, engine)
    for prompt in ("a mug", "a rug", "a city", "a forest", "a poster"):
        encode(tokens(prompt))
    encode(tokens("a city"))  # two have come since
    assert len(engine.calls) == 6


def test_the_unconditional_prompt_is_encoded_or_is_zeros_as_the_bundle_says(bundle: Bundle) -> None:
    tokens = Tokenizer(bundle)
    empty = PromptEncoder(bundle, CountingEncoder()).unconditional(tokens)["encoder_hidden_states"]
    assert empty[:, 0].tolist() == [BOS, EOS] + [PAD] * 6
    text = dataclasses.replace(bundle.text, zero_uncond=True)
    encode = PromptEncoder(dataclasses.replace(bundle, text=text), CountingEncoder())
    assert not encode.unconditional(tokens)["encoder_hidden_states"].any()
    np.testing.assert_array_equal(encode(tokens("")).cond["encoder_hidden_states"], empty)


class SkippingEncoder(CountingEncoder):
    """Encodes no prompt to its ids, and prompts to theirs plus a half."""

    def encode_text(self, input_ids: Sequence[NDArray[np.int64]], *, baseline: bool = False) -> Conditioning:
        states = super().encode_text(input_ids, baseline=baseline)["encoder_hidden_states"]
        return {"encoder_hidden_states": states + np.float32(0.5), "uncond_encoder_hidden_states": states}


def test_no_prompt_has_its_own_encoding_where_layers_are_skipped(bundle: Bundle) -> None:
    """As in diffusers; the empty prompt as a prompt skips them, and no encoding of a prompt has an output too many."""
    tokens, engine = Tokenizer(bundle), SkippingEncoder()
    encode = PromptEncoder(dataclasses.replace(bundle, text=dataclasses.replace(bundle.text, clip_skip=1)), engine)
    none = encode.unconditional(tokens)
    assert encode.unconditional(tokens) is none and len(engine.calls) == 1
    assert none.keys() == encode(tokens("")).cond.keys() == {"encoder_hidden_states"}
    assert none["encoder_hidden_states"][:, 0].tolist() == [BOS, EOS] + [PAD] * 6
    np.testing.assert_array_equal(
        encode(tokens("")).cond["encoder_hidden_states"], none["encoder_hidden_states"] + np.float32(0.5)
    )


def test_a_refiner_is_told_another_score_for_no_prompt(bundle: Bundle) -> None:
    """Also where no prompt is encoded as zeros: the score is no encoding of text."""
    scored = dataclasses.replace(bundle, takes=Takes(aesthetic_scores=AestheticScores(6.0, 2.5)))
    tokens = Tokenizer(scored)
    encode = PromptEncoder(scored, CountingEncoder())
    assert encode(tokens("a")).cond["aesthetic_score"] == 6.0
    assert encode.unconditional(tokens)["aesthetic_score"] == 2.5
    zero = dataclasses.replace(scored, text=dataclasses.replace(scored.text, zero_uncond=True))
    none = PromptEncoder(zero, CountingEncoder()).unconditional(tokens)
    assert none["aesthetic_score"] == 2.5
    assert not none["encoder_hidden_states"].any()
