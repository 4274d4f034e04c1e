"""Every file that a tensor may lie in is found, wherever in the graph it hides; onnx's own writer is the oracle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from memscan.scanner.embedded import BUNDLE
from memscan.scanner.external_data import GraphError, external_files


def tensor(location: str) -> TensorProto:
    """A tensor whose values lie in another file."""
    found = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        found.external_data.add(key=key, value=value)
    return found


def graph_of(*nodes: onnx.NodeProto, **fields: list[TensorProto]) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], **fields)


def constant(value: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=value)


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor("hidden.bin"))


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(constant(tensor("hidden.bin")))


def in_subgraph(model: onnx.ModelProto) -> None:
    inner = graph_of(initializer=[tensor("hidden.bin")])
    outer = graph_of(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=graph_of()))
    model.graph.node.append(helper.make_node("Scan", [], [], body=outer))


def in_function(model: onnx.ModelProto) -> None:
    function = helper.make_function("d", "f", [], ["y"], [constant(tensor("hidden.bin"))], [])
    model.functions.append(function)


def in_default_of_a_function(model: onnx.ModelProto) -> None:
    default = helper.make_attribute("value", tensor("hidden.bin"))
    model.functions.append(helper.make_function("d", "f", [], ["y"], [], [], attribute_protos=[default]))


def in_list_of_tensors(model: onnx.ModelProto) -> None:
    node = helper.make_node("Custom", [], ["y"])
    node.attribute.append(helper.make_attribute("values", [tensor("hidden.bin")]))
    model.graph.node.append(node)


def in_sparse_initializer(model: onnx.ModelProto) -> None:
    sparse = onnx.SparseTensorProto(values=tensor("hidden.bin"), dims=[1])
    model.graph.sparse_initializer.append(sparse)


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor("hidden.bin"))


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_constant,
        in_subgraph,
        in_function,
        in_default_of_a_function,
        in_list_of_tensors,
        in_sparse_initializer,
        in_training,
    ],
)
def test_file_of_a_tensor_is_found(hide: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    inside = numpy_helper.from_array(np.arange(9, dtype=np.float32), "inside")
    model = helper.make_model(graph_of(constant(inside), initializer=[inside]))
    assert external_files(written(model, tmp_path)) == set()
    hide(model)
    assert external_files(written(model, tmp_path)) == {"hidden.bin"}


def test_graphs_of_the_embedded_bundle_name_their_weights_alone() -> None:
    found = {file.relative_to(BUNDLE).as_posix(): external_files(file) for file in BUNDLE.rglob("*.onnx")}
    assert found["measure.onnx"] == found["step.onnx"] == found["baseline/measure.onnx"] == {"weights.bin"}
    assert set().union(*found.values()) == {"weights.bin"}


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"\xff" * 20, lambda raw: raw + b"\x0b"])
def test_what_is_no_graph_is_said_so(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    model = helper.make_model(graph_of(initializer=[tensor("hidden.bin")]))
    file = written(model, tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(GraphError, match=r"cut off|wire type"):
        external_files(file)


def test_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = written(helper.make_model(graph_of(initializer=[tensor("hidden.bin")])), tmp_path)
    file.write_bytes(file.read_bytes().replace(b"hidden.bin", b"hidden.b\xff\xff"))
    with pytest.raises(GraphError, match="no text"):
        external_files(file)


def written(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "graph.onnx"
    file.write_bytes(model.SerializeToString())
    return file
