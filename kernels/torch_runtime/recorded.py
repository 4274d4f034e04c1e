"""A plan recorded as a CUDA graph for one batch size: replayed as a whole, with no Python between its kernels."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from memscan.kernels.torch_runtime.plan import Plan


class Recorded:
    """A recording of a plan.

    Args:
        plan: has been run before with inputs of these shapes, so that libraries and kernels are loaded.
        inputs: by name, on a CUDA device.
        pool: of another recording, to share its memory.
    """

    @torch.inference_mode()
    def __init__(self, plan: Plan, inputs: Mapping[str, Tensor], pool: Any = None) -> None:
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device while this one records: theirs is no part of the recording.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = plan.run(self._inputs)

    @property
    def pool(self) -> Any:
        """The memory that this recording works in."""
        return self._graph.pool()

    @torch.inference_mode()
    def replay(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The plan's outputs, copied out of the recording's own memory.

        Args:
            inputs: as those of the recording in names and shapes.
        """
        for name, tensor in self._inputs.items():
            tensor.copy_(inputs[name])
        self._graph.replay()
        return {name: tensor.clone() for name, tensor in self._outputs.items()}
