"""A row of the table that the derivative rules are tested by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One form of an operator.

    `inputs` are, in the operator's order: a shape for an input that may carry a tangent, an array for a constant, None
    for an absent one. `function` maps the tensors of the former to the output (the first output, where there are more).
    `batch` says that the leading dimension of inputs and output is a batch, which the test then also makes symbolic.
    """

    op: str
    inputs: tuple[Shape | np.ndarray | None, ...]
    function: Callable[..., Tensor]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: Literal["real", "positive"] = "real"
    outputs: int = 1
    batch: bool = False
    note: str = ""

    def __str__(self) -> str:
        return f"{self.op}-{self.note}" if self.note else self.op


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def constant(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)
