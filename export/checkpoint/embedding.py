"""Textual inversions: rows that a file adds to the table of a text encoder's tokens, and their token to its tokenizer.

A concept may have several vectors. They are the tokens `T`, `T_1`, `T_2`, ..., which diffusers writes into a prompt in
the place of `T`; a bundle records how many there are, and the scanner writes them (Gal et al., arXiv 2208.01618).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.files import require_whole
from memscan.export.checkpoint.weight_files import named
from memscan.scanner.bundle import file_digest
from memscan.scanner.bundle_parts import Concept
from memscan.scanner.errors import ExportError, first_line

ROWS = "token_embedding.weight"
"""What the name of a text encoder's table of tokens ends with."""

_NAMELESS = "emb_params"
_BY_ENCODER = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
"""Names of the vectors of the first text encoder and of the second, as trainers of XL write them."""


@dataclasses.dataclass(frozen=True)
class Embedding:
    """A file of vectors; `vectors` is by text encoder, [V, D], and `first` the id that the first of them has there."""

    file: str
    digest: str
    token: str
    vectors: Mapping[str, torch.Tensor]
    first: Mapping[str, int]

    @property
    def tokens(self) -> list[str]:
        """The token of each vector."""
        return _tokens(self.token, max(len(vectors) for vectors in self.vectors.values()))

    def said(self) -> str:
        """What was added to which text encoders, in one line."""
        count = len(self.tokens)
        vectors = "1 vector" if count == 1 else f"{count} vectors"
        return f"{self.file} added {vectors} to {' and '.join(self.vectors)}, called by {self.token} in prompts"

    def added(self, part: str, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The float32 weight, with more rows if it is the table of tokens of an encoder that has vectors here."""
        if part not in self.vectors or not name.endswith(ROWS):
            return weight
        return torch.cat([weight[: self.first[part]], self.vectors[part]])


def read_embedding(
    text: str, widths: Mapping[str, int], tokenizers: Mapping[str, PreTrainedTokenizerBase]
) -> Embedding:
    """Read FILE or FILE:TOKEN, and add its tokens to the tokenizers.

    Args:
        widths: D of each text encoder, in their order.
        tokenizers: of each text encoder.

    Raises:
        ExportError: there is no such file of safetensors, it holds something else, fits no text encoder, or a tokenizer
            has its token.
    """
    file, token = _parse(text)
    tensors = _read(file)
    first_encoder, *others = widths
    if len(tensors) == 1:
        ((key, tensor),) = tensors.items()
        found, given = {first_encoder: tensor}, file.stem if key == _NAMELESS else key
    elif others and (names := next((names for names in _BY_ENCODER if set(tensors) == set(names)), None)):
        found, given = {first_encoder: tensors[names[0]], others[0]: tensors[names[1]]}, file.stem
    else:
        raise ExportError(
            f"{file} holds {named(sorted(tensors))}: a textual inversion has one tensor, or clip_l and clip_g for the"
            " two text encoders of XL"
        )
    token = token or given
    if not token.strip() or not token.isprintable():
        raise ExportError(f"{file} has the token {token!r}: give another by FILE:TOKEN")
    vectors = {part: _vectors(file, part, tensor, widths[part]) for part, tensor in found.items()}
    if len({len(each) for each in vectors.values()}) > 1:
        raise ExportError(f"{file} has another number of vectors for each text encoder")
    first = {part: len(tokenizers[part]) for part in vectors}
    embedding = Embedding(file.name, file_digest(file), token, vectors, first)
    for part in vectors:
        _require_new(file, tokenizers[part], embedding.token)
        add_tokens(tokenizers[part], [embedding], part)
    return embedding


def add_tokens(tokenizer: PreTrainedTokenizerBase, embeddings: Sequence[Embedding], encoder: str) -> None:
    """Add the tokens of those that have vectors for `encoder` to its tokenizer, as diffusers does."""
    for embedding in embeddings:
        if encoder in embedding.vectors:
            tokenizer.add_tokens(embedding.tokens)


def concepts(tokenizer: PreTrainedTokenizerBase) -> tuple[Concept, ...]:
    """The added tokens of a tokenizer that stand for several, in the order of their ids."""
    added = tokenizer.added_tokens_encoder
    found = []
    for token in sorted(added, key=added.__getitem__):
        count = 1
        while f"{token}_{count}" in added:
            count += 1
        if count > 1:
            found.append(Concept(token, count))
    return tuple(found)


def _tokens(token: str, count: int) -> list[str]:
    return [token, *(f"{token}_{index}" for index in range(1, count))]


def _parse(text: str) -> tuple[Path, str]:
    file, token = Path(text), ""
    head, colon, tail = text.rpartition(":")
    if colon and not file.exists():
        file, token = Path(head), tail
    require_whole(file)
    if not file.is_file():
        raise ExportError(f"no file {file}: give a textual inversion as FILE or FILE:TOKEN")
    if file.suffix != ".safetensors":
        raise ExportError(f"{file} is no file of safetensors: memscan reads textual inversions from .safetensors only")
    return file, token


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file} cannot be loaded: {first_line(error)}; download it again") from error


def _vectors(file: Path, part: str, tensor: torch.Tensor, width: int) -> torch.Tensor:
    """[V, D] in float32, of [D] or [V, D]."""
    vectors = tensor.float().reshape(-1, tensor.shape[-1]) if tensor.dim() in (1, 2) else tensor.float()
    if vectors.dim() != 2 or not len(vectors) or vectors.shape[1] != width:
        raise ExportError(
            f"{file} has vectors of shape {list(tensor.shape)}, but the tokens of {part} are of width {width}: it was"
            " made for another model"
        )
    if not torch.isfinite(vectors).all():
        raise ExportError(f"{file} has NaN or infinite values")
    return vectors


def _require_new(file: Path, tokenizer: PreTrainedTokenizerBase, token: str) -> None:
    vocabulary = tokenizer.get_vocab()
    for known in (token, f"{token}_1"):
        if known in vocabulary:
            raise ExportError(
                f"{file} is called by the token {token}, but the tokenizer has {known} already: give another by"
                " FILE:TOKEN"
            )
