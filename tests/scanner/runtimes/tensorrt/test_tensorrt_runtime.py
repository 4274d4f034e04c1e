"""How plans are run, on stand-ins for CUDA and TensorRT: fake_cudart.py and fake_tensorrt.py say what this shows."""

import gc
import importlib
import inspect
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import BundleError, EnvironmentFailed, OutOfMemory, UsageError
from memscan.scanner.notes import Note, note
from memscan.scanner.runtimes import open_runtime
from memscan.scanner.runtimes.runtime import Runtime
from memscan.scanner.runtimes.tensorrt import cuda
from memscan.scanner.runtimes.tensorrt.runtime import TensorRtRuntime
from memscan.scanner.settings import Execution
from tests.analytic_model import LATENT, MAX_LENGTH
from tests.scanner.runtimes.tensorrt import fake_tensorrt
from tests.scanner.runtimes.tensorrt.fake_cudart import FakeCudart
from tests.scanner.runtimes.tensorrt.fake_tensorrt import FakeTensorRt

ENGINES = pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
SHAPE = (3, *LATENT)


@pytest.fixture
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


@pytest.fixture(autouse=True)
def caches_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def open_fake(
    bundle: Bundle, engine: str = "tensorrt", batch_size: int | None = None, note: Note = note
) -> TensorRtRuntime:
    runtime = open_runtime(bundle, Execution(batch_size=batch_size, engine=engine), note)
    assert isinstance(runtime, TensorRtRuntime)
    return runtime


def decode(runtime: Runtime, latents: np.ndarray) -> np.ndarray:
    return runtime.download(runtime.run("vae_decoder.onnx", {"latents": runtime.upload(latents)})["image"])


def random(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *LATENT)).astype(np.float32)


@ENGINES
def test_a_scan_gives_what_it_gives_on_onnx_runtime(
    analytic: Path, trt: FakeTensorRt, cudart: FakeCudart, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ["a memorized poster", "a city", "a mug", "a city at night", "a red poster"]
    arguments = ["run", *(word for prompt in prompts for word in ("--prompt", prompt)), "--model", str(analytic)]
    arguments += ["--batch-size", "2", "--images", "--maps"]
    assert invoke([*arguments, "--out", "expected"]) == 0
    assert invoke([*arguments, "--out", "got", "--engine", engine]) == 0
    for table, apart in (("results", ["scanned_at"]), ("maps", [])):
        assert pq.read_table(f"got/{table}").drop(apart).equals(pq.read_table(f"expected/{table}").drop(apart))
    # All but the image encoder are needed, and each is announced and built once.
    built = [Path(path).relative_to(analytic).as_posix() for path in trt.built]
    assert sorted(built) == [
        "baseline/measure.onnx",
        "measure.onnx",
        "step.onnx",
        "text_encoder.onnx",
        "vae_decoder.onnx",
    ]
    said = [line for line in capsys.readouterr().err.splitlines() if "building" in line]
    assert len(said) == len(built)
    title = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}[engine]
    device = {"tensorrt": "Fake GPU", "tensorrt-rtx": "compute capability 8.6"}[engine]
    assert said[0] == (
        f"memscan: building text_encoder.onnx with {title} 10.13.3 for {device}, batches up to 2: this is done once, "
        "and may take minutes"
    )
    # TensorRT-RTX captures its own CUDA graphs.
    assert (cudart.launches > 0) == (engine == "tensorrt")


def test_the_device_is_named(bundle: Bundle, trt: FakeTensorRt) -> None:
    assert open_fake(bundle).device == "TensorRT 10.13.3 on Fake GPU"


def test_plans_are_built_once_and_for_batches_that_suffice(bundle: Bundle, trt: FakeTensorRt) -> None:
    for batch_size, builds in ((4, 1), (4, 1), (3, 1), (5, 2)):
        decode(open_fake(bundle, batch_size=batch_size), random(1))
        assert len(trt.built) == builds


def test_what_timing_taught_is_given_to_the_next_build(bundle: Bundle, trt: FakeTensorRt) -> None:
    decode(open_fake(bundle, batch_size=1), random(1))
    decode(open_fake(bundle, batch_size=2), random(1))
    assert trt.reads == [b"", b"", b"+", b"+"]


def test_an_output_stays_as_it_is_whatever_is_run_later(bundle: Bundle, trt: FakeTensorRt) -> None:
    runtime = open_fake(bundle)
    batches = [random(3, seed) for seed in range(4)] + [random(2, 4), random(3, 5)]
    images = [runtime.run("vae_decoder.onnx", {"latents": runtime.upload(batch)})["image"] for batch in batches]
    reference = open_runtime(bundle, Execution(threads=1, provider="cpu"))
    for batch, image in zip(batches, images, strict=True):
        np.testing.assert_array_equal(runtime.download(image), decode(reference, batch))


def test_work_is_captured_once_for_each_change_of_shape(bundle: Bundle, trt: FakeTensorRt, cudart: FakeCudart) -> None:
    runtime = open_fake(bundle)
    launches = []
    for count in (3, 3, 3, 2, 2, 3, 3):
        decode(runtime, random(count))
        launches.append(cudart.launches)
    assert launches == [0, 1, 2, 2, 3, 3, 4]


def test_work_that_cannot_be_captured_runs_all_the_same_and_is_noted_once(
    bundle: Bundle, trt: FakeTensorRt, cudart: FakeCudart, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = open_fake(bundle)
    expected = decode(runtime, random(2))
    cudart.captures = False
    noted: list[str] = []
    runtime = open_fake(bundle, note=noted.append)
    for _ in range(3):
        np.testing.assert_array_equal(decode(runtime, random(2)), expected)
    assert cudart.launches == 0
    assert noted == [
        "vae_decoder.onnx cannot be captured as a CUDA graph, and runs kernel by kernel: "
        "CUDA failed: cudaStreamEndCapture: cudaErrorStreamCaptureInvalidated, what it means"
    ]
    assert capsys.readouterr().err == ""


def test_outputs_are_inputs_without_passing_through_the_host(bundle: Bundle, trt: FakeTensorRt) -> None:
    runtime = open_fake(bundle)
    image = runtime.run("vae_decoder.onnx", {"latents": runtime.upload(random(2))})["image"]
    latents = runtime.run("vae_encoder.onnx", {"image": image})["latents"]
    again = runtime.upload(runtime.download(image))
    np.testing.assert_array_equal(
        runtime.download(latents), runtime.download(runtime.run("vae_encoder.onnx", {"image": again})["latents"])
    )


@pytest.mark.parametrize("shape", [(0, 4), (), (2, 3)], ids=str)
def test_arrays_go_up_and_come_down(
    bundle: Bundle, trt: FakeTensorRt, cudart: FakeCudart, shape: tuple[int, ...]
) -> None:
    runtime = open_fake(bundle)
    array = np.random.default_rng(0).integers(0, 9, shape)
    value = runtime.upload(array)
    assert value.shape == shape
    np.testing.assert_array_equal(runtime.download(value), array)
    del value
    gc.collect()
    assert cudart.used == 0


def test_an_array_may_be_changed_once_it_is_uploaded(bundle: Bundle, trt: FakeTensorRt) -> None:
    runtime = open_fake(bundle)
    array = np.ones(4, np.float32)
    value = runtime.upload(array)
    array[:] = 0
    np.testing.assert_array_equal(runtime.download(value), np.ones(4, np.float32))


def test_more_images_than_the_plan_takes_are_too_many(bundle: Bundle, trt: FakeTensorRt) -> None:
    with pytest.raises(OutOfMemory) as caught:
        decode(open_fake(bundle, batch_size=2), random(3))
    assert str(caught.value) == ("the plan of vae_decoder.onnx is for batches up to 2, not 3")


def test_too_little_memory_is_said(bundle: Bundle, trt: FakeTensorRt, cudart: FakeCudart) -> None:
    runtime = open_fake(bundle)
    decode(runtime, random(1))
    cudart.memory = cudart.used + 100
    with pytest.raises(OutOfMemory, match=r"^out of GPU memory \(cudaMallocAsync: cudaErr"):
        decode(runtime, random(8))


def test_a_failure_of_tensorrts_is_one_line(bundle: Bundle, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(context: fake_tensorrt.IExecutionContext, stream: int) -> bool:
        context._engine.logger.log(fake_tensorrt.ILogger.Severity.WARNING, "never mind")
        context._engine.logger.log(fake_tensorrt.ILogger.Severity.ERROR, "Error Code 1:\n  Cask failed")
        return False

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", refuse)
    with pytest.raises(EnvironmentFailed, match=r"^vae_decoder\.onnx failed: Error Code 1: Cask failed$"):
        decode(open_fake(bundle), random(1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": np.zeros(SHAPE, np.float32)}, "vae_decoder.onnx takes latents, not image: export the model again"),
        (
            {"latents": np.zeros(SHAPE, np.float64)},
            f"vae_decoder.onnx takes latents as float32 {[-1, *LATENT]}, not as float64 {list(SHAPE)}: "
            "export the model again",
        ),
        (
            {"latents": np.zeros((*SHAPE, 1), np.float32)},
            f"vae_decoder.onnx takes latents as float32 {[-1, *LATENT]}, not as float32 {[*SHAPE, 1]}: "
            "export the model again",
        ),
    ],
    ids=["name", "dtype", "rank"],
)
def test_inputs_that_a_graph_does_not_take_are_refused(
    bundle: Bundle, trt: FakeTensorRt, inputs: dict[str, np.ndarray], message: str
) -> None:
    runtime = open_fake(bundle)
    decode(runtime, np.zeros(SHAPE, np.float32))  # buffers for this shape are there
    with pytest.raises(BundleError) as caught:
        runtime.run("vae_decoder.onnx", {name: runtime.upload(array) for name, array in inputs.items()})
    assert str(caught.value) == message


def test_a_plan_that_is_not_what_its_record_says_is_refused(
    bundle: Bundle, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_tensorrt.ICudaEngine, "get_tensor_shape", lambda engine, name: (7,))
    with pytest.raises(EnvironmentFailed, match=r"^the plan of vae_decoder\.onnx takes and gives other arrays"):
        decode(open_fake(bundle), random(1))


def test_text_is_encoded_one_by_one_and_so_tuned(
    bundle: Bundle, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned: dict[str, tuple[tuple[int, ...], ...]] = {}
    original = fake_tensorrt.IOptimizationProfile.set_shape

    def set_shape(profile: fake_tensorrt.IOptimizationProfile, name: str, *shapes: tuple[int, ...]) -> None:
        tuned[name] = shapes
        original(profile, name, *shapes)

    monkeypatch.setattr(fake_tensorrt.IOptimizationProfile, "set_shape", set_shape)
    runtime = open_fake(bundle, batch_size=4)
    runtime.run("text_encoder.onnx", {"input_ids": runtime.upload(np.zeros((1, MAX_LENGTH), np.int64))})
    decode(runtime, random(1))
    assert tuned["input_ids"] == ((1, MAX_LENGTH), (1, MAX_LENGTH), (4, MAX_LENGTH))
    assert tuned["latents"] == ((1, *LATENT), (4, *LATENT), (4, *LATENT))


def test_the_cpu_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError) as caught:
        open_runtime(bundle, Execution(engine="tensorrt", provider="cpu"))
    assert str(caught.value) == "--engine tensorrt runs on GPUs only: leave out --provider cpu"


def test_a_gpu_that_rtx_does_not_build_for_is_refused(
    bundle: Bundle, trt: FakeTensorRt, cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch
) -> None:
    h200 = cudart.cudaGetDeviceProperties(0)[1]
    h200.name, h200.major, h200.minor = b"NVIDIA H200", 9, 0
    monkeypatch.setattr(cudart, "cudaGetDeviceProperties", lambda device: (0, h200))
    with pytest.raises(EnvironmentFailed) as caught:
        open_fake(bundle, "tensorrt-rtx")
    assert str(caught.value) == (
        "TensorRT-RTX 10.13.3 does not build for compute capability 9.0 (NVIDIA H200): use --engine tensorrt"
    )


@ENGINES
def test_without_a_gpu_one_line_says_what_is_needed(
    analytic: Path,
    trt: FakeTensorRt,
    cudart: FakeCudart,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cuda, "_import_cudart", lambda: FakeCudart(devices=0))
    assert invoke(["run", "--prompt", "a city", "--model", str(analytic), "--engine", engine]) == 1
    assert capsys.readouterr().err == (
        f"memscan: error: --engine {engine} needs an NVIDIA GPU with a driver for CUDA 13 (r580 or newer): "
        "CUDA failed: cudaGetDeviceCount: cudaErrorNoDevice, what it means; --engine onnxruntime runs without one\n"
    )


def test_without_cuda_bindings_one_line_says_what_to_install(
    bundle: Bundle, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EnvironmentFailed, match=r'pip install "memscan\[tensorrt\]" or "memscan\[tensorrt-rtx\]"'):
        open_fake(bundle)


@pytest.mark.parametrize(
    ("fake", "package"),
    [(FakeTensorRt, "tensorrt_rtx_bindings"), (FakeCudart, "cuda.bindings.runtime")],
    ids=["tensorrt", "cuda"],
)
def test_the_stand_ins_have_no_name_that_the_real_packages_lack(fake: type, package: str) -> None:
    real = importlib.import_module(package)
    own = {"used", "enqueue", "is_capturing"}
    assert [name for name in names(fake) - own if not hasattr(real, name)] == []
    if fake is FakeTensorRt:
        for cls in (value for value in vars(fake_tensorrt).values() if is_stand_in(value)):
            missing = {name for name in names(cls) if not hasattr(getattr(real, cls.__name__), name)}
            assert missing <= {"path"}, cls


def names(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


def is_stand_in(value: object) -> bool:
    return inspect.isclass(value) and value.__module__ == fake_tensorrt.__name__ and value is not FakeTensorRt


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_without_a_gpu_the_real_packages_say_so(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX's wheels are not installed")
    assert invoke(["run", "--prompt", "a city", "--model", str(analytic), "--engine", "tensorrt-rtx"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("memscan: error: --engine tensorrt-rtx needs an NVIDIA GPU with a driver for CUDA 13 (r580 ")
    assert line.count("\n") == 1


def test_an_old_tensorrt_is_refused(bundle: Bundle, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt, "__version__", "10.9.0", raising=False)
    with pytest.raises(EnvironmentFailed, match=r"^TensorRT 10\.9\.0 is too old, 10\.13 is the first that will do"):
        open_fake(bundle)


def test_without_tensorrt_one_line_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EnvironmentFailed, match=r'^TensorRT is not installed: pip install "memscan\[tensorrt\]"'):
        open_fake(bundle)
