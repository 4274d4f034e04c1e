"""Products J v of a bench's images, J = d eps / d x_t: computed once, kept, and used by every estimate.

All Hadamard probes of one seed are among the 64 of the finest colouring, so 64 products serve every K; along all unit
vectors they are the Jacobian itself, of which any estimate is a product with a known matrix.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.probes.states import TEXT, Drawn
from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.settings import Derivative

Array = NDArray[np.float32]
Directions = Callable[[], Array]


class Products:
    """Those at the states of one bench; what `folder` holds already is not computed again."""

    def __init__(self, bundle: Bundle, drawn: Drawn, folder: Path) -> None:
        self._bundle, self._drawn, self._folder = bundle, drawn, folder
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def along(
        self, name: str, directions: Directions, condition: str, derivative: Derivative, timestep: int, image: int
    ) -> Array:
        """J v [K, n] for directions v [K, n], which are called `name`; n counts C, h, w in their order."""
        file = self._folder / f"{name}-{derivative}-t{timestep}-{condition}-{image:03d}.npy"
        if not file.exists():
            unfinished = file.with_suffix(".part.npy")
            np.save(unfinished, self._computed(directions(), condition, derivative, timestep, image))
            unfinished.rename(file)
        return np.load(file)

    def _computed(self, directions: Array, condition: str, derivative: Derivative, timestep: int, image: int) -> Array:
        session = self._session(derivative, condition == "baseline")
        level = noise_level(self._bundle.schedule, timestep)
        feed = {"sample": self._drawn.states[timestep][[image]], TEXT: self._drawn.texts[condition][[image]]}
        feed |= {name: np.full(1, getattr(level, name), np.float32) for name in graph_names.LEVEL}
        known = {value.name for value in session.get_inputs()}
        feed = {name: value for name, value in feed.items() if name in known}
        product = session.get_outputs()[-1].name
        group = self._bundle.tangents_per_call
        filled = np.concatenate([directions, np.zeros((-len(directions) % group, directions.shape[1]), np.float32)])
        found = [
            session.run([product], {**feed, "tangents": tangents.reshape(group, 1, *self._bundle.latent_shape)})[0]
            for tangents in filled.reshape(-1, group, directions.shape[1])
        ]
        return np.concatenate(found).reshape(filled.shape)[: len(directions)]

    def _session(self, derivative: Derivative, baseline: bool) -> onnxruntime.InferenceSession:
        graph = graph_names.measure(derivative)
        graph = graph_names.of_baseline(graph) if baseline else graph
        if graph not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            content = product_graph(onnx.load(self._bundle.file(graph))).SerializeToString()
            self._sessions[graph] = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        return self._sessions[graph]


def product_graph(measuring: onnx.ModelProto) -> onnx.ModelProto:
    """A measuring graph that also gives, as its last output, the products whose sum it gives: [Kg, N, C, h, w].

    Raises:
        ValueError: the graph does not end in the sum of tangents times their products.
    """
    graph = measuring.graph
    by_output = {name: node for node in graph.node for name in node.output}
    total = by_output["v_dot_jv"]
    weighted = by_output.get(total.input[0])
    if total.op_type != "ReduceSum" or weighted is None or "tangents" not in weighted.input:
        raise ValueError(f"v_dot_jv is made by {total.op_type}, expected the sum of tangents times products")
    (product,) = (name for name in weighted.input if name != "tangents")
    graph.output.append(onnx.helper.make_tensor_value_info(product, onnx.TensorProto.FLOAT, None))
    return measuring
