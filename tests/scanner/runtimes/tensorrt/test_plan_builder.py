"""TensorRT-RTX's real parser and builder on small graphs: what goes in, what comes out, and what each refusal says."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from memscan.scanner.errors import BundleError, EnvironmentFailed, OutOfMemory, UsageError
from memscan.scanner.process.signals import Terminated
from memscan.scanner.runtimes.tensorrt.builder import Request, build_plan
from memscan.scanner.runtimes.tensorrt.cache import PlanCache
from memscan.scanner.runtimes.tensorrt.failure import failure
from memscan.scanner.runtimes.tensorrt.flavour import Flavour, load_flavour
from memscan.scanner.runtimes.tensorrt.interface import Tensor
from memscan.scanner.runtimes.tensorrt.key import PlanKey
from memscan.scanner.runtimes.tensorrt.target import ahead_of_time
from memscan.scanner.runtimes.tensorrt.timing import TimingCache

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX's wheels are not installed")


@pytest.fixture(scope="module")
def rtx() -> Flavour:
    return load_flavour("tensorrt-rtx")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Request]:
    """Writes a graph from x [N, 3] and a scalar s to y, whose weights are in a file beside it."""

    def write(*nodes: onnx.NodeProto) -> Request:
        graph = helper.make_graph(
            nodes,
            "graph",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]),
                helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
            [numpy_helper.from_array(np.ones((3, 4), np.float32), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        file = tmp_path / "graph.onnx"
        onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
        return Request("graph.onnx", file, optimum=2, batch_size=4, compute_capabilities=("8.6",))

    return write


PRODUCT = (helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Mul", ["xw", "s"], ["y"]))


def ignore(share: float, phase: str) -> None:
    pass


def test_a_plan_takes_and_gives_what_its_graph_does(rtx: Flavour, write: Callable[..., Request]) -> None:
    interface, content = build_plan(rtx, write(*PRODUCT), show=ignore)
    assert interface.inputs == {"x": Tensor("float32", (-1, 3)), "s": Tensor("float32", ())}
    assert interface.outputs == {"y": Tensor("float32", (-1, 4))}
    assert content.nbytes > 0


def test_weights_are_read_from_their_own_file(rtx: Flavour, write: Callable[..., Request], tmp_path: Path) -> None:
    request = write(*PRODUCT)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(
        BundleError, match=r"^TensorRT-RTX [\d.]+ cannot read graph\.onnx: Failed to import init[^\n]+$"
    ):
        build_plan(rtx, request, show=ignore)


def test_progress_never_goes_back(rtx: Flavour, write: Callable[..., Request]) -> None:
    shares: list[float] = []
    build_plan(rtx, write(*PRODUCT), show=lambda share, phase: shares.append(share))
    assert shares[0] == 0
    assert 0.8 < shares[-1] <= 1  # the last step of all is not reported
    assert shares == sorted(shares)
    assert len(set(shares)) > 10


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Terminated])
def test_a_signal_ends_the_build(rtx: Flavour, write: Callable[..., Request], signal: type[BaseException]) -> None:
    """A signal's exception is raised in whatever Python code runs next: during a build, what shows its progress."""
    shown = 0

    def show(share: float, phase: str) -> None:
        nonlocal shown
        shown += 1
        if shown == 20:
            raise signal

    with pytest.raises(signal):
        build_plan(rtx, write(*PRODUCT), show=show)


def test_an_operator_that_tensorrt_does_not_know_is_named(rtx: Flavour, write: Callable[..., Request]) -> None:
    request = write(helper.make_node("Det", ["x"], ["y"], name="the_node"))
    with pytest.raises(BundleError, match=r"^TensorRT-RTX [\d.]+ cannot read graph\.onnx: Det node the_node: [^\n]+$"):
        build_plan(rtx, request, show=ignore)


def test_a_graph_that_cannot_be_built_says_why(rtx: Flavour, write: Callable[..., Request]) -> None:
    turing = dataclasses.replace(write(*PRODUCT), compute_capabilities=("7.5",))
    with pytest.raises(
        BundleError, match=r"^TensorRT-RTX [\d.]+ cannot build graph\.onnx: [^\n]*SM75[^\n]*FP32 GEMM is not supported"
    ):
        build_plan(rtx, turing, show=ignore)


def test_plans_ahead_of_time_are_for_all_but_turing_unless_one_says(rtx: Flavour) -> None:
    assert ahead_of_time(rtx, ()).compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert ahead_of_time(rtx, ("12.0", "8.6", "12.0")).compute_capabilities == ("8.6", "12.0")
    assert str(ahead_of_time(rtx, ("12.0", "8.6"))) == "compute capability 8.6, 12.0"
    with pytest.raises(UsageError, match=r"does not build for compute capability 9\.0: it does for 7\.5, 8\.0, 8\.6"):
        ahead_of_time(rtx, ("9.0",))


def test_the_timing_cache_is_read_again_and_replaced_where_it_is_damaged(rtx: Flavour, tmp_path: Path) -> None:
    """TensorRT-RTX has the interface of a timing cache, with nothing in it."""
    cache = PlanCache(tmp_path / "plans")
    key = PlanKey("tensorrt", "10.13", "GPU", ("8.6",), 1, "a")
    trt = rtx.trt
    config = trt.Builder(rtx.logger()).create_builder_config()
    contents = []
    for damage in (None, None, b"junk"):
        (file,) = (tmp_path / "plans").glob("timing-????????????????") if contents else (None,)
        if damage:
            file.write_bytes(damage)
        timing = TimingCache(cache, key)
        timing.attach(config)
        timing.merge(config)
        contents.append(next((tmp_path / "plans").glob("timing-????????????????")).read_bytes())
    assert contents[0]
    assert contents == [contents[0]] * 3


def test_of_two_processes_one_builds_and_the_other_finds(analytic: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from memscan.scanner.bundle import open_bundle
from memscan.scanner.runtimes.tensorrt.cache import PlanCache
from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
from memscan.scanner.runtimes.tensorrt.provide import PlanProvider
from memscan.scanner.runtimes.tensorrt.target import Target
bundle, flavour = open_bundle(Path({str(analytic)!r})), load_flavour("tensorrt-rtx")
provider = PlanProvider(
    bundle, flavour, PlanCache(Path({str(tmp_path)!r}) / "plans"), Target(None, ("8.6",)), 2, note=lambda text: None
)
provided = provider.provide("measure.onnx")
print("found" if provided.seconds is None else "built", len(provided.plan.content))
"""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    fates = sorted(process.communicate()[0].split() for process in processes)
    assert [fate for fate, _ in fates] == ["built", "found"]
    assert fates[0][1] == fates[1][1]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 9 bytes.)", OutOfMemory),
        ("[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)", OutOfMemory),
        ("Error Code 1: Cuda Runtime (an illegal memory access was encountered)", EnvironmentFailed),
    ],
    ids=["tensorrt", "cuda", "other"],
)
def test_what_counts_as_out_of_memory(reason: str, error: type[Exception]) -> None:
    assert type(failure("step.onnx", reason)) is error
