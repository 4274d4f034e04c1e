"""How operators are lowered to torch: a dictionary from operator to lowering, filled by kind of operator.

A lowering reads a node's attributes once, when a graph is loaded, and returns the function of the input tensors that is
called in every run. What it was not written for it refuses there and then.

Integers that shape a result (a target shape, axes, slice bounds) are read on the host. An operator names the inputs it
reads so; the plan keeps these values, and all that they are computed from, in the host's memory, so that no run ever
waits for the device to tell a shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from memscan.kernels.torch_runtime.node import Node

Compute = Callable[..., Any]
"""Tensors of the inputs, None for an absent one -> the output's tensor, or a tuple of several outputs' tensors."""

Lower = Callable[[Node], Compute]


@dataclass(frozen=True)
class Lowering:
    """How an operator becomes a torch function.

    `on_host` are the indices of inputs whose numbers are read on the host. `shape_only`: of its inputs only the shapes
    are read, and its output is made on the host. `placed`: the function is told the `device` to make its output on.
    `several`: it has several outputs.
    """

    lower: Lower
    on_host: tuple[int, ...] = ()
    shape_only: bool = False
    placed: bool = False
    several: bool = False


class LoweringTable(dict[str, Lowering]):
    """Lowerings by operator."""

    def lowering(
        self,
        operator: str,
        *,
        on_host: tuple[int, ...] = (),
        shape_only: bool = False,
        placed: bool = False,
        several: bool = False,
    ) -> Callable[[Lower], Lower]:
        """Declare a lowering written out, as a decorator."""

        def declare(lower: Lower) -> Lower:
            self[operator] = Lowering(lower, on_host, shape_only, placed, several)
            return lower

        return declare

    def function(self, operator: str, compute: Callable[..., Tensor]) -> None:
        """Declare an operator without attributes that is one torch function of its inputs."""
        self[operator] = Lowering(lambda node: compute)


def integers(x: Tensor) -> list[int]:
    """The numbers of an input that is read on the host."""
    numbers: list[int] = x.flatten().tolist()
    return numbers
