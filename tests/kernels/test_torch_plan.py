"""Plans: what is kept and for how long, what is computed on loading, and which graphs are refused."""

import errno
import gc
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from memscan.kernels.torch_runtime.constants import Constants
from memscan.scanner.errors import BundleError, OutOfMemory
from tests.kernels.lowering_rows import Row, floats, ints
from tests.kernels.torch_graphs import model, plan_of, run_torch, single_node

WEIGHT = floats(30, 40)
X = np.zeros((2, 30), np.float32)


def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=f"node of {output}", **attributes)


WIDENED = [node("Cast", ["half"], "w", to=TensorProto.FLOAT), node("MatMul", ["x", "w"], "y")]


def save(file: Path, nodes: list[onnx.NodeProto], shape: tuple[int, ...], **constants: np.ndarray) -> Path:
    """A graph from x, of this shape, to y."""
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    onnx.save(model(nodes, {"x": np.zeros(shape, np.float32)}, ["y"], stored), file)
    return file


def save_half_stored(
    file: Path, weights: str = "weights.bin", nodes: Sequence[onnx.NodeProto] = WIDENED, outputs: Sequence[str] = ("y",)
) -> Path:
    """A graph over W, stored as float16 in a file of weights; by default y = x W, with W widened by a Cast."""
    half = WEIGHT.astype(np.float16)
    proto = model(
        list(nodes), {"x": np.zeros((2, 30), np.float32)}, list(outputs), [numpy_helper.from_array(half, "half")]
    )
    external_data_helper.set_external_data(proto.graph.initializer[0], weights, offset=64, length=half.nbytes)
    proto.graph.initializer[0].ClearField("raw_data")
    (file.parent / Path(weights).name).write_bytes(b"\0" * 64 + half.tobytes())
    file.write_bytes(proto.SerializeToString())
    return file


def test_a_value_is_dropped_after_its_last_use(tmp_path: Path) -> None:
    nodes = [node("Exp", ["x"], "e"), node("Sin", ["e"], "s"), node("Add", ["e", "s"], "a"), node("Cos", ["a"], "y")]
    plan = plan_of(save(tmp_path / "graph.onnx", nodes, (3,)))
    assert [[value.name for value in step.dead] for step in plan.steps] == [["x"], [], ["e", "s"], ["a"]]


def test_what_no_output_needs_is_not_computed(tmp_path: Path) -> None:
    nodes = [node("Sin", ["x"], "unused"), node("Exp", ["x"], "y")]
    assert len(plan_of(save(tmp_path / "graph.onnx", nodes, (3,))).steps) == 1


def test_what_depends_on_weights_alone_is_computed_once(tmp_path: Path) -> None:
    nodes = [node("Transpose", ["w"], "t"), node("Mul", ["t", "t"], "squared"), node("MatMul", ["x", "squared"], "y")]
    plan = plan_of(save(tmp_path / "graph.onnx", nodes, (2, 40), w=WEIGHT))
    assert len(plan.steps) == 1
    x = floats(2, 40)
    np.testing.assert_allclose(run_torch(plan, {"x": x})["y"], x @ WEIGHT.T**2, rtol=1e-5, atol=1e-5)


def test_two_graphs_over_one_file_share_their_weights(tmp_path: Path) -> None:
    constants = Constants()
    plans = [plan_of(save_half_stored(tmp_path / f"{name}.onnx"), constants) for name in ("one", "other")]
    first, second = ([*plan.constants.values()] for plan in plans)
    assert len(first) == 1
    assert first[0] is second[0]
    assert first[0].dtype == torch.float32


@pytest.mark.parametrize(
    "forms",
    [
        [("Cast", {"to": TensorProto.FLOAT}), ("Cast", {"to": TensorProto.DOUBLE})],
        [("Transpose", {"perm": [1, 0]}), ("Transpose", {"perm": [0, 1]})],
        [("Softmax", {"axis": 0}), ("Softmax", {"axis": 1}), ("Softmax", {})],
        [("Exp", {}), ("Sin", {})],
    ],
    ids=["dtypes", "orders", "axes", "operators"],
)
def test_what_is_made_of_one_weight_is_kept_apart(forms: list[tuple[str, dict[str, object]]], tmp_path: Path) -> None:
    """In one graph, and in two graphs that share their constants."""
    names = [f"y{index}" for index, _ in enumerate(forms)]
    nodes = [
        node(operator, ["half"], name, **attributes) for name, (operator, attributes) in zip(names, forms, strict=True)
    ]
    alone = [
        run_torch(plan_of(save_half_stored(tmp_path / "one.onnx", nodes=[made], outputs=[name])), {"x": X})[name]
        for name, made in zip(names, nodes, strict=True)
    ]
    constants = Constants()
    together = run_torch(
        plan_of(save_half_stored(tmp_path / "all.onnx", nodes=nodes, outputs=names), constants), {"x": X}
    )
    plans = [
        plan_of(save_half_stored(tmp_path / f"{name}.onnx", nodes=[made], outputs=[name]), constants)
        for name, made in zip(names, nodes, strict=True)
    ]
    shared = [run_torch(plan, {"x": X})[name] for name, plan in zip(names, plans, strict=True)]
    for name, expected, found in zip(names, alone, shared, strict=True):
        for array in (together[name], found):
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(array, expected)


def test_weights_live_as_long_as_a_plan_that_uses_them(tmp_path: Path) -> None:
    constants = Constants()
    plan = plan_of(save_half_stored(tmp_path / "one.onnx"), constants)
    weight = weakref.ref(*plan.constants.values())
    assert constants.held == 1, "the stored float16 weight is kept beside the float32 one"
    del plan
    gc.collect()
    assert weight() is None
    assert constants.held == 0


def test_weights_on_the_cpu_stay_in_their_file(tmp_path: Path) -> None:
    proto, _ = single_node(Row("MatMul", ((2, 30), WEIGHT)))
    external_data_helper.set_external_data(proto.graph.initializer[0], "weights.bin", offset=8)
    proto.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8 + WEIGHT.tobytes())
    (tmp_path / "graph.onnx").write_bytes(proto.SerializeToString())
    constants = Constants()
    (weight,) = plan_of(tmp_path / "graph.onnx", constants).constants.values()
    np.testing.assert_array_equal(weight.numpy(), WEIGHT)
    start = torch.frombuffer(constants.mapped(tmp_path / "weights.bin"), dtype=torch.uint8).data_ptr()
    assert weight.data_ptr() == start + 8


@pytest.mark.parametrize("location", ["../weights.bin", "/weights.bin"])
def test_weights_outside_the_bundle_are_not_opened(location: str, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BundleError, match=r"^half in .*graph\.onnx lies outside the bundle: "):
        plan_of(save_half_stored(tmp_path / "bundle" / "graph.onnx", location))


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100], ids=["missing", "empty", "short"])
def test_missing_weights_are_the_bundles_error(content: bytes | None, tmp_path: Path) -> None:
    file = save_half_stored(tmp_path / "graph.onnx")
    (tmp_path / "weights.bin").unlink()
    if content is not None:
        (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.bin does not hold its weights: export the model again \("):
        plan_of(file)


def test_weights_that_cannot_be_mapped_for_want_of_memory_are_not_the_bundles_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(constants: Constants, file: Path) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Constants, "mapped", mapped)
    with pytest.raises(OutOfMemory, match=r"^out of memory while .*weights\.bin was mapped \(.*allocate memory\)$"):
        plan_of(save_half_stored(tmp_path / "graph.onnx"))


def test_shapes_are_computed_on_the_host(tmp_path: Path) -> None:
    """A batch read from a shape, put beside constants, shapes a value: all of it in the host's memory."""
    nodes = [
        node("Shape", ["x"], "batch", start=0, end=1),
        node("Concat", ["batch", "rest"], "target", axis=0),
        node("Reshape", ["x", "target"], "y"),
    ]
    plan = plan_of(save(tmp_path / "graph.onnx", nodes, (4, 6), rest=ints(3, 2)))
    assert [[value.on_host for value in step.outputs] for step in plan.steps] == [[True], [True], [False]]
    assert run_torch(plan, {"x": floats(4, 6)})["y"].shape == (4, 3, 2)


def test_a_shape_is_no_operand_of_arithmetic(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], "shape"),
        node("Cast", ["shape"], "sizes", to=TensorProto.FLOAT),
        node("Mul", ["x", "sizes"], "y"),
    ]
    with pytest.raises(BundleError, match=r"only to shape values, not as numbers, as of Shape node 'node of shape'$"):
        plan_of(save(tmp_path / "graph.onnx", nodes, (1,)))


def test_other_inputs_than_the_graphs_are_refused(tmp_path: Path) -> None:
    plan = plan_of(save(tmp_path / "graph.onnx", [node("Exp", ["x"], "y")], (3,)))
    with pytest.raises(BundleError, match=r"^the graph takes x; it was given x, z$"):
        run_torch(plan, {"x": floats(3), "z": floats(3)})


def test_another_opset_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "graph.onnx", [node("Exp", ["x"], "y")], (3,))
    proto = onnx.load(file)
    proto.opset_import[0].version = 13
    onnx.save(proto, file)
    with pytest.raises(BundleError, match=r"graph\.onnx has opset 13: the torch engine knows 18 to 23$"):
        plan_of(file)


def test_embedded_bfloat16_is_read_bit_by_bit(tmp_path: Path) -> None:
    """Multiples of 2^-6 below 2 are exact in bfloat16."""
    values = np.arange(-128, 128, dtype=np.float32).reshape(16, 16) / 64
    tensor = helper.make_tensor("half", TensorProto.BFLOAT16, values.shape, values.flatten())
    nodes = [node("Cast", ["half"], "w", to=TensorProto.FLOAT), node("Add", ["x", "w"], "y")]
    zero = np.zeros((16, 16), np.float32)
    onnx.save(model(nodes, {"x": zero}, ["y"], [tensor]), tmp_path / "graph.onnx")
    np.testing.assert_array_equal(run_torch(plan_of(tmp_path / "graph.onnx"), {"x": zero})["y"], values)


def test_weights_without_an_offset_lie_at_the_start_of_their_file(tmp_path: Path) -> None:
    proto, _ = single_node(Row("MatMul", ((2, 30), WEIGHT)))
    external_data_helper.set_external_data(proto.graph.initializer[0], "weights.bin")
    proto.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "graph.onnx").write_bytes(proto.SerializeToString())
    (weight,) = plan_of(tmp_path / "graph.onnx").constants.values()
    np.testing.assert_array_equal(weight.numpy(), WEIGHT)


def test_an_operator_of_another_domain_is_not_the_default_domains(tmp_path: Path) -> None:
    file = save(tmp_path / "graph.onnx", [node("Exp", ["x"], "y", domain="elsewhere")], (3,))
    with pytest.raises(BundleError, match=r"does not know the operator of elsewhere::Exp node 'node of y'$"):
        plan_of(file)


def test_a_node_without_a_name_is_named_after_its_output(tmp_path: Path) -> None:
    file = save(tmp_path / "graph.onnx", [helper.make_node("Scan", ["x"], ["y"])], (3,))
    with pytest.raises(BundleError, match=r"does not know the operator of Scan node 'y'$"):
        plan_of(file)
