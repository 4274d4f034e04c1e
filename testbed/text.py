"""Tokenizer and text encoder: a BPE learned from the captions, and a tiny CLIP text model trained with the denoiser."""

from collections import Counter
from itertools import pairwise

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from testbed.captions import CAPTIONS

MAX_LENGTH = 16
WIDTH = 64
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent pair first and ties in alphabetical order, until each word is one token."""
    pieces = [(*word[:-1], word[-1] + END_OF_WORD) for word in words]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(word, best) for word in pieces]
    return merges


def spelled_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merges that make each word one token, word after word: quick for thousands, where only whole words matter."""
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = (*word[:-1], word[-1] + END_OF_WORD)
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
            ranks.setdefault(best, len(ranks))
            pieces = _merge(pieces, best)
    return list(ranks)


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows every word of the captions, and spells all others."""
    return tokenizer_of(learn_merges([word for caption in CAPTIONS for word in caption.prompt.split()]))


def tokenizer_of(merges: list[tuple[str, str]]) -> CLIPTokenizer:
    """A CLIP tokenizer with these merges; what they do not make it spells."""
    letters = [*ALPHABET, *(letter + END_OF_WORD for letter in ALPHABET)]
    tokens = [*letters, *dict.fromkeys("".join(pair) for pair in merges), START, END]
    ids = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=MAX_LENGTH)


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Padded token ids [N, MAX_LENGTH], as StableDiffusionPipeline makes them."""
    encoded = tokenizer(prompts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    return torch.tensor(encoded.input_ids)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder: two layers, WIDTH channels."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )
