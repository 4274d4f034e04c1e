"""A graph as a list of torch calls, made once when it is loaded.

Loading leaves out what no output needs, computes what depends on constants alone, and notes after which call a value is
needed no more, so that a run holds as little as it can.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from memscan.kernels.torch_runtime.constants import Constant, Constants, derived
from memscan.kernels.torch_runtime.graph_file import GraphFile
from memscan.kernels.torch_runtime.lowering_table import Compute
from memscan.kernels.torch_runtime.node import Node
from memscan.kernels.torch_runtime.placement import Value, lowering_of, needed_values, operands
from memscan.scanner.errors import BundleError

HOST = torch.device("cpu")


@dataclass(frozen=True)
class Step:
    """One call. `dead` are the values that nothing reads after it."""

    compute: Compute
    inputs: list[Value | None]
    outputs: list[Value]
    dead: list[Value]


class Plan:
    """A graph ready to run on a device.

    Args:
        graph: as read from its file.
        device: where its inputs are and its outputs will be.
        constants: shared by the graphs of a bundle.

    Raises:
        BundleError: it has an operator, or a form of one, that has no lowering.
    """

    def __init__(self, graph: GraphFile, device: torch.device, constants: Constants) -> None:
        self.inputs = graph.inputs
        self._outputs = graph.outputs
        needed = needed_values(graph)
        known: dict[Value, Constant] = {
            value: graph.initializers[value.name].on(HOST if value.on_host else device)
            for value in needed
            if value.name in graph.initializers
        }
        steps = []
        for node in graph.nodes:
            for on_host in (True, False):
                outputs = [Value(name, on_host) for name in node.outputs]
                if needed.isdisjoint(outputs):
                    continue
                place = HOST if on_host else device
                compute, inputs = _lowered(node, place), operands(node, on_host)
                if len(outputs) == 1 and all(value is None or value in known for value in inputs):
                    key = node.operator, repr(sorted(node.attributes.items())), str(place)
                    known[outputs[0]] = derived(key, compute, [value and known[value] for value in inputs])
                else:
                    steps.append((compute, inputs, outputs))
        results = [Value(name, on_host=False) for name in graph.outputs]
        read = {value for _, inputs, _ in steps for value in inputs}.union(results)
        self.constants = {value: constants.tensor(constant) for value, constant in known.items() if value in read}
        self.steps = _with_dead(steps, {*self.constants, *results})

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The graph's outputs.

        Args:
            inputs: by name, on the plan's device.

        Raises:
            BundleError: they are not the graph's, or a call meets a form of its operator that has no lowering.
            RuntimeError: torch failed.
        """
        if set(inputs) != set(self.inputs):
            raise BundleError(f"the graph takes {', '.join(self.inputs)}; it was given {', '.join(inputs)}")
        values: dict[Value | None, Tensor | None] = {None: None}
        values.update(self.constants.items())
        values.update((Value(name, on_host=False), tensor) for name, tensor in inputs.items())
        with torch.inference_mode():
            for step in self.steps:
                results = step.compute(*[values[value] for value in step.inputs])
                values.update(zip(step.outputs, (results,) if len(step.outputs) == 1 else results, strict=True))
                del results
                for value in step.dead:
                    del values[value]
        return {name: _present(values[Value(name, on_host=False)]) for name in self._outputs}


def _lowered(node: Node, place: torch.device) -> Compute:
    lowering = lowering_of(node)
    compute = lowering.lower(node)
    if node.unread:
        raise node.unsupported(f"the attribute {', '.join(node.unread)}")
    if len(node.outputs) > 1 and not lowering.several:
        raise node.unsupported("a second output")
    return partial(compute, device=place) if lowering.placed else compute


def _with_dead(steps: list[tuple[Compute, list[Value | None], list[Value]]], keep: set[Value]) -> list[Step]:
    """The steps, each with the values that can be dropped after it."""
    seen: set[Value | None] = {None, *keep}
    marked = []
    for compute, inputs, outputs in reversed(steps):
        dead = [value for value in dict.fromkeys((*inputs, *outputs)) if value is not None and value not in seen]
        seen.update(dead)
        marked.append(Step(compute, inputs, outputs, dead))
    return marked[::-1]


def _present(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
