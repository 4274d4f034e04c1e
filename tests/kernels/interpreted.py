"""The Triton kernel run by Triton's interpreter, in a process of its own.

Triton decides at import whether kernels are compiled or interpreted, so that process is started with TRITON_INTERPRET
set, and the tests' own stays free to compile.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from memscan.kernels.jvp_attention.tiles import Tile


@contextmanager
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """A process whose Triton interprets; submit `run` to it."""
    context = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}),
        ProcessPoolExecutor(1, context, initializer=_prepare) as pool,
    ):
        yield pool


def run(inputs: list[Tensor | None], scale: float | None, tile: Tile) -> tuple[Tensor, Tensor]:
    """`fused_jvp_attention` in this process, on outputs that hold NaN until the kernel writes them."""
    from memscan.kernels.jvp_attention.launch import fused_jvp_attention

    def poisoned(*shape: int, **options: Any) -> Tensor:
        return torch.full(shape, float("nan"), **options)

    with mock.patch("torch.empty", poisoned):
        return fused_jvp_attention(*inputs, scale=scale, tile=tile)


def _prepare() -> None:
    """Make the interpreter multiply bfloat16: it holds such numbers as 16-bit integers, and multiplies those."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    create_dot = InterpreterBuilder.create_dot

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_widened_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return create_dot(self, widened(a), widened(b), *others)

    InterpreterBuilder.create_dot = create_widened_dot
