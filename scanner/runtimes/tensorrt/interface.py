"""Inputs and outputs of a plan, as they are kept beside it: what a graph takes and gives, without loading it."""

import dataclasses
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
    """`dtype` by its NumPy name; in `shape` the batch is -1."""

    dtype: str
    shape: tuple[int, ...]

    def accepts(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Whether an array is one of these, with a batch of whatever size."""
        return (
            dtype == self.dtype
            and len(shape) == len(self.shape)
            and all(known in (-1, size) for size, known in zip(shape, self.shape, strict=True))
        )


@dataclasses.dataclass(frozen=True)
class Interface:
    """Tensors by name, in the graph's order."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` is the inverse."""
        return {
            side: {name: [tensor.dtype, list(tensor.shape)] for name, tensor in tensors.items()}
            for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Interface":
        """Read an interface.

        Raises:
            TypeError, KeyError, ValueError: the record is no interface.
        """
        sides = (
            {name: Tensor(dtype, tuple(shape)) for name, (dtype, shape) in record[side].items()}
            for side in ("inputs", "outputs")
        )
        return cls(*sides)


def network_interface(trt: ModuleType, network: Any) -> Interface:
    """The interface of a parsed network."""
    inputs = (network.get_input(index) for index in range(network.num_inputs))
    outputs = (network.get_output(index) for index in range(network.num_outputs))
    return Interface(
        *({tensor.name: _tensor(trt, tensor.dtype, tensor.shape) for tensor in side} for side in (inputs, outputs))
    )


def engine_interface(trt: ModuleType, engine: Any) -> Interface:
    """The interface of a plan that was loaded, which needs a GPU."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    sides: dict[Any, dict[str, Tensor]] = {trt.TensorIOMode.INPUT: {}, trt.TensorIOMode.OUTPUT: {}}
    for name in names:
        tensor = _tensor(trt, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        sides[engine.get_tensor_mode(name)][name] = tensor
    return Interface(sides[trt.TensorIOMode.INPUT], sides[trt.TensorIOMode.OUTPUT])


def _tensor(trt: ModuleType, dtype: Any, shape: Iterable[int]) -> Tensor:
    return Tensor(np.dtype(trt.nptype(dtype)).name, tuple(shape))
