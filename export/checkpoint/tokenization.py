"""A checkpoint's tokenizers as files of a bundle, and the rules by which the scanner cuts and pads."""

import dataclasses
import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.scanner.bundle import Text
from memscan.scanner.errors import ExportError


def write_tokenizers(checkpoint: Checkpoint, folder: Path) -> Text:
    """Write the tokenizers as tokenizer.json and, for two text encoders, tokenizer_2.json.

    The second tokenizer has the vocabulary of the first, but its padding token "!" is a special token: where a prompt
    says "!", their ids differ too.

    Raises:
        ExportError: the two cut prompts at different lengths, or begin and end them differently.
    """
    tokenizers = [checkpoint.tokenizer(part) for part in checkpoint.family.tokenizers]
    for part, tokenizer in zip(checkpoint.family.tokenizers, tokenizers, strict=True):
        (folder / f"{part}.json").write_text(_tokenizer_json(tokenizer), encoding="utf-8")
    first, *second = [
        Text(
            max_length=min(int(tokenizer.model_max_length), int(checkpoint.config(part)["max_position_embeddings"])),
            pad_token_id=int(tokenizer.pad_token_id),
            bos_token_id=int(tokenizer.bos_token_id),
            eos_token_id=int(tokenizer.eos_token_id),
        )
        for tokenizer, part in zip(tokenizers, checkpoint.text_encoders, strict=True)
    ]
    for other in second:
        if dataclasses.replace(other, pad_token_id=first.pad_token_id) != first:
            raise ExportError(
                f"{checkpoint.path}: its tokenizers differ in length, start or end token: {first}, {other}"
            )
    return dataclasses.replace(
        first,
        second_pad_token_id=second[0].pad_token_id if second else None,
        zero_uncond=checkpoint.zero_uncond(),
    )


def check_same_tokenizers(model: Checkpoint, baseline: Checkpoint) -> None:
    """Check that a baseline that has tokenizers has those of the model.

    Raises:
        ExportError: one of them differs.
    """
    for part in model.family.tokenizers:
        if baseline.has(part) and _tokenizer_json(baseline.tokenizer(part)) != _tokenizer_json(model.tokenizer(part)):
            raise ExportError(f"{baseline.path} has another {part} than {model.path}: not the same model")


def _tokenizer_json(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer without truncation and padding, which the scanner applies by the rules in `bundle.json`."""
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({**record, "truncation": None, "padding": None}, ensure_ascii=False)
