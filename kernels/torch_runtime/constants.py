"""Weights and what is computed of weights alone: on the device once, however many graphs use them.

A constant is known by what it is made of: the bytes of a file, or an operator over other constants. Two graphs over one
weights.bin ask for the same constants and get the same tensors. Only plans hold them: a stored float16 weight is freed
as soon as the float32 weight made of it is there, and all are freed with the last plan that uses them.
"""

import mmap
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from memscan.scanner.errors import BundleError, OutOfMemory
from memscan.scanner.runtimes.failures import first_line, is_out_of_memory


class Constants:
    """The constants of all graphs of one bundle, and the files that they are in."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._files: dict[Path, mmap.mmap] = {}

    def tensor(self, constant: "Constant") -> Tensor:
        """The constant's tensor; while somebody holds it, the same one for the same key."""
        if constant.key is None:
            return constant.make(self)
        found = self._held.get(constant.key)
        if found is None:
            found = self._held[constant.key] = constant.make(self)
        return found

    @property
    def held(self) -> int:
        """How many shared constants somebody holds."""
        return len(self._held)

    def mapped(self, file: Path) -> mmap.mmap:
        """A file's bytes, mapped into memory."""
        if file not in self._files:
            with file.open("rb") as opened:
                # A private mapping that may be written to, since torch knows no read-only tensors; nobody writes.
                self._files[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        return self._files[file]


@dataclass(frozen=True)
class Constant:
    """A tensor to be made when it is first needed. `key` tells equal ones across graphs; None: not to be shared."""

    key: Hashable
    make: Callable[[Constants], Tensor]


def stored(file: Path, offset: int, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> Constant:
    """A weight in a file beside its graph. On the CPU it is never copied: the mapped file itself is the tensor.

    Making it raises BundleError where the file is missing or too short, OutOfMemory where it cannot be mapped.
    """

    def make(constants: Constants) -> Tensor:
        count = torch.Size(shape).numel()
        if count == 0:
            return torch.empty(shape, dtype=dtype, device=device)
        try:
            flat = torch.frombuffer(constants.mapped(file), dtype=dtype, count=count, offset=offset)
        except (OSError, ValueError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory while {file} was mapped ({first_line(error)})") from error
            raise BundleError(
                f"{file} does not hold its weights: export the model again ({first_line(error)})"
            ) from error
        return flat.reshape(shape).to(device)

    return Constant((file, offset, dtype, shape, device), make)


def derived(operator: Hashable, compute: Callable[..., Tensor], of: Sequence[Constant | None]) -> Constant:
    """What an operator gives for constants; `operator` stands for it with its attributes and its device."""

    def make(constants: Constants) -> Tensor:
        with torch.inference_mode():
            return compute(*(operand and constants.tensor(operand) for operand in of))

    shared = all(operand is None or operand.key is not None for operand in of)
    return Constant((operator, *(operand and operand.key for operand in of)) if shared else None, make)
