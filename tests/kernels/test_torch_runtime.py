"""The torch engine as a runtime: its device, its values, and the one line that each failure becomes."""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from memscan.kernels.torch_runtime import TorchRuntime, runtime
from memscan.kernels.torch_runtime.plan import Plan
from memscan.kernels.torch_runtime.recorded import Recorded
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import BundleError, EnvironmentFailed, OutOfMemory
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.settings import Execution
from tests.analytic_bundle import IMAGE, write_analytic_bundle
from tests.analytic_model import LATENT
from tests.kernels.lowering_rows import Row
from tests.kernels.torch_graphs import assert_parity, draw, plan_of, single_node

CPU = Execution(engine="torch", threads=1, provider="cpu")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
ZEROS = np.zeros((2, *LATENT), np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_analytic_bundle(tmp_path / "analytic")


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    """The engine sets torch's threads for its process; other tests share this one."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_run_takes_the_word_torch(bundle: Bundle, tmp_path: Path) -> None:
    arguments = ["run", "--prompt", "a cat", "--model", str(bundle.path), "--out", str(tmp_path / "out")]
    assert invoke([*arguments, "--engine", "torch", "--provider", "cpu", "--threads", "1"]) == 0


def test_device_names_version_and_processor(bundle: Bundle) -> None:
    version = torch.__version__.partition("+")[0]
    assert open_graphs(bundle, CPU).device == f"torch {version} on cpu"


@NO_CUDA
def test_auto_is_the_cpu_where_torch_finds_no_cuda(bundle: Bundle) -> None:
    assert open_graphs(bundle, Execution(engine="torch", threads=1)).device.endswith(" on cpu")


@NO_CUDA
def test_cuda_demanded_of_a_torch_without_it_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, Execution(engine="torch", provider="cuda"))
    assert str(caught.value) == (
        f"torch {torch.__version__} finds no CUDA device: install a torch with CUDA and its driver, "
        "or use --provider cpu"
    )


@NO_CUDA
def test_a_torch_with_cuda_that_finds_no_device_says_so(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = Execution(engine="torch", threads=1)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert open_graphs(bundle, auto).remark is None
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert open_graphs(bundle, CPU).remark is None
    assert open_graphs(bundle, auto).remark == (
        f"torch {torch.__version__} has CUDA, but finds no device: check the driver, or say --provider cpu"
    )


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_missing_libraries_say_what_to_install(missing: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("memscan.kernels")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, CPU)
    assert str(caught.value) == f'the torch engine needs {missing}: pip install "memscan[torch]"'


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.arange(6)[::-1], np.broadcast_to(np.float32(2), (2, 2)), np.array(1.5)],
    ids=["plain", "backwards", "read-only", "scalar"],
)
def test_what_is_uploaded_is_downloaded(array: np.ndarray, bundle: Bundle) -> None:
    engine = TorchRuntime(bundle, CPU)
    value = engine.upload(array)
    assert value.shape == array.shape
    found = engine.download(value)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_shapes_of_decoded_images(bundle: Bundle) -> None:
    engine = open_graphs(bundle, CPU)
    assert engine.decode(engine.upload(ZEROS)).shape == (2, 3, *IMAGE)


def test_outputs_stay_as_they_are_when_a_graph_runs_again(bundle: Bundle) -> None:
    engine = open_graphs(bundle, CPU)
    first = engine.decode(engine.upload(ZEROS + 1))
    kept = first.copy()
    engine.decode(engine.upload(ZEROS))
    np.testing.assert_array_equal(first, kept)


def test_a_graph_that_cannot_be_loaded_is_the_bundles_error(bundle: Bundle) -> None:
    bundle.file("vae_decoder.onnx").write_bytes(b"junk")
    with pytest.raises(BundleError, match=r"vae_decoder\.onnx cannot be loaded: export the model again \([^\n]+\)$"):
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 2 TiB\nmore"),
            "out of memory in vae_decoder.onnx (CUDA out of memory. Tried 2 TiB)",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "out of memory in vae_decoder.onnx "
            "([enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory)",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            "out of memory in vae_decoder.onnx (cuDNN error: CUDNN_STATUS_ALLOC_FAILED)",
        ),
    ],
    ids=["cuda", "cpu", "cudnn"],
)
def test_every_wording_of_out_of_memory_is_recognised(
    error: Exception, line: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "run", failing(error))
    with pytest.raises(OutOfMemory) as caught:
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))
    assert str(caught.value) == line


def test_torch_itself_runs_out_of_memory(bundle: Bundle) -> None:
    with pytest.raises(OutOfMemory):
        open_graphs(bundle, CPU).decode(torch.zeros(1).expand(2**20, 4, 2**12, 2**12))


def test_out_of_memory_leaves_no_values_behind(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever handles the error must be able to try again: a traceback would keep the values of the run alive."""
    kept: list[weakref.ref[torch.Tensor]] = []

    def run(plan: Plan, inputs: object) -> None:
        value = torch.zeros(3)
        kept.append(weakref.ref(value))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Plan, "run", run)
    with pytest.raises(OutOfMemory):
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))
    assert kept[0]() is None


def test_out_of_memory_is_seen_through_the_error_that_ends_a_recording(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(plan: Plan, inputs: object) -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr(Plan, "run", run)
    with pytest.raises(OutOfMemory, match=r"^out of memory in vae_decoder\.onnx \(CUDA out of memory\)$"):
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))


def test_any_other_failure_names_the_graph(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "run", failing(RuntimeError("CUDA error: an illegal memory access\nmore")))
    with pytest.raises(EnvironmentFailed, match=r"^vae_decoder\.onnx failed: CUDA error: an illegal memory access$"):
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))


def test_an_error_of_a_kernel_may_come_with_the_download(bundle: Bundle) -> None:
    class Lost:
        def cpu(self) -> None:
            raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    with pytest.raises(EnvironmentFailed, match=r"^download failed: CUDA error: unspecified launch failure$"):
        TorchRuntime(bundle, CPU).download(Lost())


def test_a_missing_triton_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "run", failing(ModuleNotFoundError("No module named 'triton'", name="triton")))
    with pytest.raises(EnvironmentFailed, match=r'^the torch engine needs triton: pip install "memscan\[torch\]"$'):
        open_graphs(bundle, CPU).decode(torch.from_numpy(ZEROS))


def test_threads_are_those_asked_for_or_those_usable(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    for threads, expected in {2: 2, 0: 3}.items():
        open_graphs(bundle, Execution(engine="torch", threads=threads, provider="cpu"))
        assert torch.get_num_threads() == expected


def test_float32_is_computed_in_float32(bundle: Bundle) -> None:
    torch.backends.cudnn.allow_tf32 = True
    open_graphs(bundle, CPU)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


class Recording:
    """Stands for `Recorded` where there is no CUDA: notes what was recorded and replayed, and computes eagerly."""

    log: list[tuple[str, int]]
    pool = "pool"

    def __init__(self, plan: Plan, inputs: dict[str, torch.Tensor], pool: str | None) -> None:
        self.log.append((f"record in {pool}", len(inputs["latents"])))
        self._plan = plan

    def replay(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.log.append(("replay", len(inputs["latents"])))
        return self._plan.run(inputs)


def test_on_cuda_a_batch_size_is_recorded_when_it_comes_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of things only: recording itself needs a GPU."""
    monkeypatch.setattr(Recording, "log", [], raising=False)
    monkeypatch.setattr(runtime, "Recorded", Recording)
    engine = TorchRuntime(bundle, CPU)
    monkeypatch.setattr(engine, "_on_cuda", True)
    for batch in (2, 2, 2, 1, 1):
        engine.run("vae_decoder.onnx", {"latents": torch.zeros(batch, *LATENT)})
    assert Recording.log == [("record in None", 2), ("replay", 2), ("replay", 2), ("record in pool", 1), ("replay", 1)]


def test_a_recording_is_good_for_one_dtype(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay copies its inputs into those recorded, which would convert them."""
    monkeypatch.setattr(Recording, "log", [], raising=False)
    monkeypatch.setattr(runtime, "Recorded", Recording)
    engine = TorchRuntime(bundle, CPU)
    monkeypatch.setattr(engine, "_on_cuda", True)
    for dtype in (torch.float32, torch.float32, torch.float64):
        latents = torch.full((1, *LATENT), 1 / 3, dtype=dtype)
        engine.run("vae_decoder.onnx", {"latents": latents})
    assert Recording.log == [("record in None", 1), ("replay", 1)]


class FakeGraph:
    """Stands for a CUDA graph: replaying runs the plan again, from the recording's inputs into its outputs."""

    def bind(self, recorded: Recorded, plan: Plan) -> None:
        self._recorded, self._plan = recorded, plan

    def replay(self) -> None:
        for name, value in self._plan.run(self._recorded._inputs).items():
            self._recorded._outputs[name].copy_(value)


def test_a_replay_takes_new_inputs_and_gives_outputs_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copying around a replay, also where inputs are outputs of a run; recording itself needs a GPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **options: nullcontext())
    proto, _ = single_node(Row("Exp", ((2, 3),)))
    onnx.save(proto, tmp_path / "graph.onnx")
    plan = plan_of(tmp_path / "graph.onnx")
    first, second = plan.run({"x0": torch.zeros(2, 3)})["y0"], torch.full((2, 3), 2.0)
    recorded = Recorded(plan, {"x0": first})
    recorded._graph.bind(recorded, plan)
    outputs = [recorded.replay({"x0": x})["y0"] for x in (first, second)]
    for x, y in zip((first, second), outputs, strict=True):
        torch.testing.assert_close(y, x.exp(), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    on_cpu, on_cuda = (TorchRuntime(bundle, Execution(engine="torch", provider=name)) for name in ("cpu", "cuda"))
    for graph in (name for name in bundle.files if name.endswith(".onnx") and ".sliced." not in name):
        feed = draw(bundle.file(graph))
        expected = {
            name: on_cpu.download(value)
            for name, value in on_cpu.run(graph, {name: on_cpu.upload(array) for name, array in feed.items()}).items()
        }
        for _ in ("eager", "recorded", "replayed"):
            outputs = on_cuda.run(graph, {name: on_cuda.upload(array) for name, array in feed.items()})
            assert_parity({name: on_cuda.download(value) for name, value in outputs.items()}, expected)


def failing(error: Exception) -> Callable[..., Any]:
    def run(*arguments: object) -> None:
        raise error

    return run
