"""Tokenizer and text encoder: a BPE learned from the captions, and a tiny CLIP text model trained with the denoiser."""

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from testbed.captions import CAPTIONS

MAX_LENGTH = 16
VOCABULARY = 512
WIDTH = 64
START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose vocabulary is learned from the captions and the alphabet."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=list(alphabet),
        show_progress=False,
    )
    words = [caption.prompt for caption in CAPTIONS]
    bpe.train_from_iterator(words + [" ".join(alphabet)], trainer)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = bpe.model.save(folder)
        tokens = sorted(bpe.get_vocab(), key=bpe.get_vocab().__getitem__)
        ids = {token: index for index, token in enumerate([*tokens, START, END])}
        pairs = [tuple(line.split()) for line in Path(merges).read_text().splitlines() if line[:1] != "#"]
    return CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=MAX_LENGTH)


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
