"""A checkpoint with textual inversions: `embedding` says what each of them is."""

import dataclasses
import hashlib
from collections.abc import Sequence

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.embedding import Embedding, read_embedding


def read_embeddings(checkpoint: Checkpoint, files: Sequence[str]) -> tuple[Embedding, ...]:
    """The textual inversions in files, each FILE or FILE:TOKEN, for the text encoders of the checkpoint.

    Raises:
        ExportError: one is none that can be added to them.
    """
    if not files:
        return ()
    encoders = checkpoint.text_encoders
    widths = {part: int(checkpoint.config(part).get("hidden_size", 512)) for part in encoders}
    folders = zip(encoders, checkpoint.family.tokenizers, strict=True)
    tokenizers = {part: checkpoint.tokenizer(folder) for part, folder in folders}
    return tuple(read_embedding(file, widths, tokenizers) for file in files)


def with_embeddings(checkpoint: Checkpoint, embeddings: Sequence[Embedding]) -> Checkpoint:
    """The checkpoint with textual inversions that were read for it, or for the model that it is a baseline of; a
    baseline that has no text takes none."""
    if not embeddings or not any(map(checkpoint.has, (*checkpoint.text_encoders, *checkpoint.family.tokenizers))):
        return checkpoint
    digest = hashlib.sha256(checkpoint.digest.encode())
    for embedding in embeddings:
        digest.update(f"\n{embedding.digest} {embedding.token}".encode())
    remarks = tuple(f"{checkpoint.id}: {embedding.said()}" for embedding in embeddings)
    return dataclasses.replace(
        checkpoint,
        digest=digest.hexdigest(),
        remarks=(*checkpoint.remarks, *remarks),
        embeddings=tuple(embeddings),
    )
