"""Text encoders whose last layers are left out: `components` says what prompts, and what no prompt, are then."""

import dataclasses
import hashlib

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.scanner.errors import ExportError


def with_clip_skip(checkpoint: Checkpoint, layers: int) -> Checkpoint:
    """The checkpoint with so many of its text encoders' last layers left out for prompts, as diffusers counts.

    Raises:
        ExportError: a text encoder does not have as many, or none is known of its family.
    """
    if not layers:
        return checkpoint
    if checkpoint.family.layers_left_out is None:
        raise ExportError(f"memscan knows no clip skip of {checkpoint.family.title}: leave out --clip-skip")
    for part in filter(checkpoint.has, checkpoint.text_encoders):
        if checkpoint.config(part).get("model_type") == "t5":
            continue
        most = int(checkpoint.config(part).get("num_hidden_layers", 12)) - checkpoint.family.layers_left_out
        if layers > most:
            raise ExportError(f"{checkpoint.folder(part)} has layers for a clip skip of {most} at most, not {layers}")
    digest = hashlib.sha256(f"{checkpoint.digest}\nclip skip {layers}".encode()).hexdigest()
    return dataclasses.replace(checkpoint, digest=digest, clip_skip=layers)
