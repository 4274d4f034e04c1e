"""What a training shows: every exposure, as the latents of a picture and a text."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

CHUNK = 512  # pictures that are held before they are encoded


@dataclass(frozen=True)
class Pool:
    """All exposures of a training, before they are shuffled.

    Attributes:
        latents: [P, 4, 16, 16] float16, one for each distinct picture.
        pictures: [E], the picture of each exposure.
        texts: [E], its text: index into the graded captions, then into the common ones.
    """

    latents: torch.Tensor
    pictures: torch.Tensor
    texts: torch.Tensor


def chunks(pictures: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.uint8]]:
    """Pictures [SIZE, SIZE, 3] in [0, 1] as bytes, CHUNK at a time."""
    chunk: list[NDArray[np.uint8]] = []
    for image in pictures:
        chunk.append(np.round(image * 255).astype(np.uint8))
        if len(chunk) == CHUNK:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)
