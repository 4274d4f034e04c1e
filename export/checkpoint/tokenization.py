"""A checkpoint's tokenizers as files of a bundle, and the rules by which the scanner cuts and pads."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.embedding import concepts
from memscan.scanner import graph_names
from memscan.scanner.bundle_parts import Text, Tokenization
from memscan.scanner.errors import ExportError


def write_tokenizers(checkpoint: Checkpoint, folder: Path) -> Text:
    """Write the tokenizers of the text encoders: tokenizer.json, tokenizer_2.json, ...

    Stable Diffusion XL's second has the vocabulary of its first, but its padding token "!" is a special token: where a
    prompt says "!", their ids differ too.

    Raises:
        ExportError: they cut prompts at different lengths, so that their hidden states cannot be joined.
    """
    rules: list[Tokenization] = []
    family = checkpoint.family
    for index, (part, encoder) in enumerate(zip(family.tokenizers, checkpoint.text_encoders, strict=True)):
        tokenizer, file = checkpoint.tokenizer(part), graph_names.tokenizer(index)
        (folder / file).write_text(_tokenizer_json(tokenizer), encoding="utf-8")
        longest = min(
            int(tokenizer.model_max_length), int(checkpoint.config(encoder).get("max_position_embeddings", 77))
        )
        rules.append(
            Tokenization(
                file=file,
                max_length=family.behind.get(part, longest),
                pad_token_id=int(tokenizer.pad_token_id),
                eos_token_id=int(tokenizer.eos_token_id),
                bos_token_id=None if part in family.behind else int(tokenizer.bos_token_id),
                position=None if part in family.pooled else Text(tuple(rules)).length if part in family.behind else 0,
                concepts=concepts(tokenizer),
            )
        )
    lengths = [rule.max_length for rule in rules if rule.position == 0]
    if len(set(lengths)) > 1:
        raise ExportError(f"{checkpoint.path}: its tokenizers differ in length: {', '.join(map(str, lengths))}")
    return Text(tuple(rules), zero_uncond=checkpoint.zero_uncond(), clip_skip=checkpoint.clip_skip)


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
