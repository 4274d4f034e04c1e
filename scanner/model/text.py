"""From prompts to text encodings, as the model's own pipeline makes them, without transformers.

A prompt is tokenised with its start and end tokens; one that is longer than the text encoder is cut so that the end
token stays, and is reported as truncated. Each prompt is encoded by itself: its encoding never depends on a batch.
"""

import collections
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.bundle_parts import Tokenization
from memscan.scanner.errors import BundleError, RowError, first_line
from memscan.scanner.graph_names import AESTHETIC_SCORE, is_uncond, uncond
from memscan.scanner.model.words import Words, spells_by_words
from memscan.scanner.records import parse_json
from memscan.scanner.terminal import brief

Conditioning = Mapping[str, NDArray[np.float32]]
"""Text encodings by the name of the denoiser's input: "encoder_hidden_states" [S, D], SDXL's "text_embeds" [P], and a
refiner's "aesthetic_score" []."""

_CACHED_BYTES = 64 << 20
"""Prompts recur from one seed to the next: this is enough for 280 of Stable Diffusion's encodings."""


class Tokens(NamedTuple):
    """`ids` int64 [S], for each of the model's text encoders; `truncated` says whether the prompt did not fit one."""

    ids: tuple[NDArray[np.int64], ...]
    truncated: bool


class Encoded(NamedTuple):
    """What the denoiser takes of one prompt, by the names of its inputs, without a batch axis.

    `baseline` is for the baseline's denoiser: the same object where both share a text encoder.
    """

    cond: Conditioning
    baseline: Conditioning


class TextEncoding(Protocol):
    """What encodes token ids [N, S] to named arrays [N, ...]: the graphs of a bundle."""

    def encode_text(self, input_ids: Sequence[NDArray[np.int64]], *, baseline: bool = False) -> Conditioning: ...


class Tokenizer:
    """The tokenizers of a bundle, one for each of its text encoders.

    Raises:
        BundleError: a tokenizer's file is malformed.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._tokenizers = [(*_load(bundle.file(rule.file)), rule) for rule in bundle.text.tokenizers]

    def __call__(self, prompt: str) -> Tokens:
        """Tokenise, cut and pad one prompt.

        Raises:
            RowError: the prompt is not valid Unicode, or the tokenizer cannot spell it.
        """
        try:
            return self._tokens([prompt])[0]
        except (TypeError, UnicodeError) as error:
            raise RowError("the prompt is not valid Unicode text") from error
        except Exception as error:  # the library raises no narrower class
            raise RowError(f"the prompt cannot be tokenized: {brief(first_line(error))}") from error

    def each(self, prompts: Sequence[str]) -> list[Tokens | RowError]:
        """What comes of each prompt by itself; all at once, which takes less time."""
        try:
            return [*self._tokens(prompts)]
        except Exception:  # whichever it was of, the others have their tokens
            return [self._outcome(prompt) for prompt in prompts]

    def _outcome(self, prompt: str) -> Tokens | RowError:
        try:
            return self(prompt)
        except RowError as error:
            return error

    def _tokens(self, prompts: Sequence[str]) -> list[Tokens]:
        distinct = list(dict.fromkeys(prompts))
        truncated = np.zeros(len(distinct), np.bool_)
        ids = []
        for tokenizer, words, rule in self._tokenizers:
            with _panics_caught():
                written = [_written(prompt, tokenizer, rule) for prompt in distinct] if rule.concepts else distinct
                spelled = _spelled(written, tokenizer, words)
            ids.append(_fitted(spelled, rule))
            truncated |= [len(each) > rule.max_length for each in spelled]
        found = {
            prompt: Tokens(tuple(of_prompt), bool(is_cut))
            for prompt, is_cut, *of_prompt in zip(distinct, truncated, *ids, strict=True)
        }
        return [found[prompt] for prompt in prompts]


def _spelled(prompts: Sequence[str], tokenizer: tokenizers.Tokenizer, words: Words | None) -> list[list[int]]:
    by_words = [None if words is None else words.spell(prompt) for prompt in prompts]
    rest = [prompt for prompt, ids in zip(prompts, by_words, strict=True) if ids is None]
    whole = iter(tokenizer.encode_batch_fast(rest))
    return [next(whole).ids if ids is None else ids for ids in by_words]


def _written(prompt: str, tokenizer: tokenizers.Tokenizer, rule: Tokenization) -> str:
    """The prompt with its concepts of several vectors written out: those that the tokenizer finds in it, wherever their
    very letters stand."""
    mentioned = [concept for concept in rule.concepts if concept.token in prompt]
    found = set(tokenizer.encode(prompt).tokens) if mentioned else set()
    for concept in mentioned:
        if concept.token in found:
            prompt = prompt.replace(concept.token, concept.written)
    return prompt


def _fitted(spelled: Sequence[list[int]], rule: Tokenization) -> NDArray[np.int64]:
    """Token ids [N, S], each prompt's cut and padded."""
    length = rule.max_length
    ids = np.full((len(spelled), length), rule.pad_token_id, np.int64)
    for row, own in zip(ids, spelled, strict=True):
        if len(own) > length:
            row[:] = [*own[: length - 1], rule.eos_token_id]
        else:
            row[: len(own)] = own
    return ids


def _load(file: Path) -> tuple[tokenizers.Tokenizer, Words | None]:
    try:
        content = file.read_bytes()
        record = parse_json(content)  # bounds the nesting, which the library follows with its stack
        with _panics_caught():
            tokenizer = tokenizers.Tokenizer.from_buffer(content)
            tokenizer.no_truncation()
            tokenizer.no_padding()
            words = Words(tokenizer) if spells_by_words(record, tokenizer) else None
    except OSError:
        raise
    except Exception as error:  # the library raises no narrower class
        raise BundleError(f"{file} cannot be read ({brief(first_line(error))}): export the model again") from error
    return tokenizer, words


@contextlib.contextmanager
def _panics_caught() -> Iterator[None]:
    """Turn a panic of the library, which is Rust's and no Exception of Python's, into a ValueError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the tokenizer failed: {first_line(error)}") from error


class PromptEncoder:
    """Encodes prompts once each, remembering those used last, up to `_CACHED_BYTES`."""

    def __init__(self, bundle: Bundle, graphs: TextEncoding) -> None:
        self._graphs = graphs
        self._text = bundle.text
        self._scores = bundle.takes.aesthetic_scores
        self._second_encoder = bundle.baseline_has_text_encoder
        self._remembered: collections.OrderedDict[bytes, Encoded] = collections.OrderedDict()
        self._bytes = 0
        self._unconditional: Conditioning | None = None

    def __call__(self, tokens: Tokens) -> Encoded:
        """The encodings of one prompt."""
        key = b"".join(ids.tobytes() for ids in tokens.ids)
        encoded = self._remembered.pop(key, None)
        if encoded is None:
            encoded = self._encode(tokens)
            self._bytes += _size(encoded)
        self._remembered[key] = encoded
        while self._bytes > _CACHED_BYTES:
            _, oldest = self._remembered.popitem(last=False)
            self._bytes -= _size(oldest)
        return encoded

    def unconditional(self, tokenizer: Tokenizer) -> Conditioning:
        """What the denoiser takes for no prompt."""
        tokens = tokenizer(self._text.uncond_prompt)
        if self._text.zero_uncond:
            encoding: Conditioning = {name: np.zeros_like(values) for name, values in self(tokens).cond.items()}
        elif not self._text.clip_skip:
            encoding = self(tokens).cond
        else:
            encoding = self._of_all_layers(tokens)
        return encoding if self._scores is None else {**encoding, **_score(self._scores.none)}

    def _of_all_layers(self, tokens: Tokens) -> Conditioning:
        if self._unconditional is None:
            outputs = self._outputs(tokens)
            self._unconditional = {name: outputs.get(uncond(name), outputs[name]) for name in _of_prompt(outputs)}
        return self._unconditional

    def _encode(self, tokens: Tokens) -> Encoded:
        cond = _of_prompt(self._outputs(tokens))
        baseline = _of_prompt(self._outputs(tokens, baseline=True)) if self._second_encoder else cond
        return Encoded(cond, baseline)

    def _outputs(self, tokens: Tokens, *, baseline: bool = False) -> Conditioning:
        """All that the text encoders' graph gives of one prompt, without a batch axis, and its aesthetic score."""
        ids = [encoder_ids[None] for encoder_ids in tokens.ids]
        outputs = self._graphs.encode_text(ids, baseline=baseline)
        score = {} if self._scores is None else _score(self._scores.prompt)
        return {**{name: values[0] for name, values in outputs.items()}, **score}


def _score(value: float) -> Conditioning:
    return {AESTHETIC_SCORE: np.array(value, np.float32)}


def _of_prompt(outputs: Conditioning) -> Conditioning:
    return {name: values for name, values in outputs.items() if not is_uncond(name)}


def _size(encoded: Encoded) -> int:
    kept = [encoded.cond] if encoded.baseline is encoded.cond else [encoded.cond, encoded.baseline]
    return sum(values.nbytes for encoding in kept for values in encoding.values())
