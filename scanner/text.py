"""From prompts to text encodings, as the model's own pipeline makes them, without transformers.

A prompt is tokenised with its start and end tokens; one that is longer than the text encoder is cut so that the end
token stays, and is reported as truncated. Each prompt is encoded by itself: its encoding never depends on a batch.
"""

import functools
from typing import NamedTuple, Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import BundleError, RowError

_CACHED_PROMPTS = 64
"""Prompts recur from one seed to the next: enough for several batches, at most 30 MB with Stable Diffusion's."""


class Tokens(NamedTuple):
    """`ids` int64 [S]; `truncated` says whether the prompt did not fit."""

    ids: NDArray[np.int64]
    truncated: bool


class Encoded(NamedTuple):
    """Encodings [S, D] of one prompt, for the model and for its baseline (one array where they share an encoder)."""

    hidden_states: NDArray[np.float32]
    baseline_hidden_states: NDArray[np.float32]
    truncated: bool


class TextEncoding(Protocol):
    """What encodes token ids [N, S] to hidden states [N, S, D]: an engine."""

    def encode_text(self, input_ids: NDArray[np.int64], *, baseline: bool = False) -> NDArray[np.float32]: ...


class Tokenizer:
    """The tokenizer of a bundle.

    Raises:
        BundleError: `tokenizer.json` is malformed.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._text = bundle.text
        file = bundle.file("tokenizer.json")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises no narrower class
            raise BundleError(f"{file} cannot be read ({error}): export the model again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, prompt: str) -> Tokens:
        """Tokenise, cut and pad one prompt.

        Raises:
            RowError: the prompt is not valid Unicode.
        """
        try:
            ids = self._tokenizer.encode(prompt).ids
        except (TypeError, UnicodeError) as error:
            raise RowError("the prompt is not valid Unicode text") from error
        length = self._text.max_length
        truncated = len(ids) > length
        if truncated:
            ids = [*ids[: length - 1], self._text.eos_token_id]
        padding = [self._text.pad_token_id] * (length - len(ids))
        return Tokens(np.array(ids + padding, np.int64), truncated)


class PromptEncoder:
    """Encodes prompts once each, remembering the most recent ones."""

    def __init__(self, bundle: Bundle, engine: TextEncoding) -> None:
        self._tokenizer = Tokenizer(bundle)
        self._engine = engine
        self._second_encoder = bundle.baseline_has_text_encoder
        self._remembered = functools.lru_cache(_CACHED_PROMPTS)(self._encode)

    def __call__(self, prompt: str) -> Encoded:
        """The encodings of one prompt.

        Raises:
            RowError: the prompt is not valid Unicode.
        """
        return self._remembered(prompt)

    def _encode(self, prompt: str) -> Encoded:
        tokens = self._tokenizer(prompt)
        ids = tokens.ids[None]
        (hidden_states,) = self._engine.encode_text(ids)
        baseline = self._engine.encode_text(ids, baseline=True)[0] if self._second_encoder else hidden_states
        return Encoded(hidden_states, baseline, tokens.truncated)
