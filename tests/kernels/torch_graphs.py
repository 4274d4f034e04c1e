"""Small graphs, and how to run them with the torch engine and with ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.kernels.lowering_rows import Fed, Row

Arrays = dict[str, np.ndarray]
OPSET = 23

PARITY = 1e-5
"""Of the largest value: float32 with sums in another order, through some fifty layers."""


def single_node(row: Row) -> tuple[onnx.ModelProto, Arrays]:
    """A model of one node with inputs x0, x1, ... and outputs y0, y1, ..., and what to feed it."""
    generator = np.random.default_rng(0)
    names, feed, constants = [], {}, []
    for index, entry in enumerate(row.inputs):
        name = f"x{index}" if entry is not None else ""
        names.append(name)
        if isinstance(entry, tuple):
            feed[name] = generator.normal(size=entry).astype(np.float32)
        elif isinstance(entry, Fed):
            feed[name] = entry.array
        elif entry is not None:
            constants.append(numpy_helper.from_array(entry, name))
    outputs = [f"y{index}" for index in range(row.outputs)]
    nodes = [helper.make_node(row.op, names, outputs, name="node", **row.attributes)]
    if row.op == "Shape":  # which the engine reads on the host only, to shape something
        constants.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
        nodes.append(helper.make_node("Expand", ["one", *outputs], ["shaped"]))
        outputs = ["shaped"]
    return model(nodes, feed, outputs, constants), feed


def model(
    nodes: list[onnx.NodeProto], feed: Arrays, outputs: list[str], constants: Sequence[TensorProto] = ()
) -> onnx.ModelProto:
    """A model whose inputs have the dtypes of `feed` and any sizes."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), [f"{name}_{axis}" for axis in range(array.ndim)]
        )
        for name, array in feed.items()
    ]
    results = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    graph = helper.make_graph(nodes, "graph", inputs, results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def plan_of(file: Path, constants: Constants | None = None) -> Plan:
    """A graph file as a plan on the CPU."""
    return Plan(read_graph(file), torch.device("cpu"), constants or Constants())


def run_torch(plan: Plan, feed: Arrays) -> Arrays:
    """A plan's outputs."""
    outputs = plan.run({name: torch.from_numpy(array) for name, array in feed.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def run_onnx_runtime(file: Path, feed: Arrays) -> Arrays:
    """The same by ONNX Runtime, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def draw(file: Path, batch: int = 2) -> Arrays:
    """Random inputs of a graph: normal numbers, integers, signs for tangents, a noise level for each image."""
    generator = np.random.default_rng(0)
    feed: Arrays = {}
    for value in onnx.load(file, load_external_data=False).graph.input:
        shape = [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
            feed[value.name] = generator.integers(0, 20, shape)
        elif value.name in ("timestep", "alpha", "sigma"):
            feed[value.name] = generator.uniform(0.2, 0.9, shape).astype(np.float32)
        elif value.name == "tangents":
            feed[value.name] = generator.choice([-1, 1], shape).astype(np.float32)
        else:
            feed[value.name] = generator.normal(size=shape).astype(np.float32)
    return feed


def assert_parity(found: Arrays, expected: Arrays) -> None:
    """Fail where outputs differ by more than `PARITY`."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=PARITY * np.abs(array).max(), err_msg=name)
