"""The engine: which graphs it loads, on what, and the one line that each failure becomes."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import BundleError, EnvironmentFailed
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.model.text import Tokenizer
from memscan.scanner.runtimes import onnx_runtime
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.sampling.schedule import Level, SolverStep
from memscan.scanner.settings import Derivative, Execution
from tests.analytic_bundle import IMAGE, SLOPES, write_analytic_bundle
from tests.analytic_model import LATENT, MAX_LENGTH, analytic_model

CPU = Execution(threads=1, provider="cpu")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_analytic_bundle(tmp_path / "analytic")


def loaded_graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the graphs that are loaded from now on."""
    names: list[str] = []
    original = onnxruntime.InferenceSession

    def session(path: Path, *arguments: object, **options: object) -> object:
        names.append(Path(path).name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return names


def test_graphs_are_loaded_when_first_used_and_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    names = loaded_graphs(monkeypatch)
    engine = open_graphs(bundle, CPU)
    assert names == []
    for _ in range(2):
        engine.encode_text([np.zeros((1, MAX_LENGTH), np.int64)])
        engine.decode(engine.upload(np.zeros((2, *LATENT), np.float32)))
    assert names == ["text_encoder.onnx", "vae_decoder.onnx"]


def test_a_shared_text_encoder_is_loaded_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    names = loaded_graphs(monkeypatch)
    engine = open_graphs(bundle, CPU)
    ids = [np.ones((1, MAX_LENGTH), np.int64)]
    np.testing.assert_equal(engine.encode_text(ids), engine.encode_text(ids, baseline=True))
    assert names == ["text_encoder.onnx"]


def test_encoder_and_decoder_shapes(bundle: Bundle) -> None:
    engine = open_graphs(bundle, CPU)
    images = engine.decode(engine.upload(np.zeros((2, *LATENT), np.float32)))
    assert images.shape == (2, 3, *IMAGE)
    assert engine.encode_image(images).shape == (2, *LATENT)


def test_provider_that_loaded_is_exposed(bundle: Bundle) -> None:
    assert open_graphs(bundle, CPU).device == "CPUExecutionProvider"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime knows CUDA"
)
def test_auto_is_the_cpu_where_onnxruntime_has_no_cuda(bundle: Bundle) -> None:
    assert open_graphs(bundle, Execution(provider="auto")).device == "CPUExecutionProvider"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime knows CUDA"
)
def test_cuda_demanded_of_a_cpu_runtime_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, Execution(provider="cuda"))
    assert str(caught.value) == (
        'this ONNX Runtime has no CUDA: use --provider cpu, or "memscan[gpu]" in an environment of its own'
    )


def test_cuda_that_does_not_load_is_never_silently_the_cpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As with onnxruntime-gpu and no driver: the provider is offered, and the session comes up without it.
    original = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: original(path, options, providers=["CPUExecutionProvider"]),
    )
    loaded: list[str] = []

    def preload(directory: str) -> None:
        loaded.append(directory)
        print("Failed to load libcudart.so.13")  # as ONNX Runtime does, where a caller's data belongs

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    assert open_graphs(bundle, CPU).device == "CPUExecutionProvider"
    assert loaded == [], "nothing of CUDA is loaded where the CPU is asked for"
    for provider, why in (("cuda", "CUDA was asked for"), ("auto", "this ONNX Runtime has CUDA")):
        with pytest.raises(EnvironmentFailed) as caught:
            _ = open_graphs(bundle, Execution(provider=provider)).device
        assert str(caught.value) == (
            f"{why} and CPUExecutionProvider loaded: see memscan doctor, or use --provider cpu"
        )
    assert loaded == ["", ""], "NVIDIA's packages are looked for before a session is made"
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime knows CUDA"
)
def test_cuda_that_is_hidden_by_the_other_package_is_never_silently_the_cpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runtime, "is_installed", lambda package: package == "onnxruntime-gpu")
    assert open_graphs(bundle, CPU).device == "CPUExecutionProvider"
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, Execution(provider="auto"))
    assert str(caught.value) == (
        "onnxruntime-gpu is installed, but the onnxruntime that loaded has no CUDA: see memscan doctor, "
        "or use --provider cpu"
    )


def test_what_each_graph_runs_on_is_known_once_it_has_run(bundle: Bundle) -> None:
    graphs = open_graphs(bundle, CPU)
    assert graphs.loaded == {}
    graphs.encode_image(np.zeros((1, 3, *bundle.image_size), np.float32))
    assert graphs.loaded == {"vae_encoder.onnx": "CPUExecutionProvider"}


def test_an_output_goes_in_again_and_stays_as_it_is_whatever_is_run_later(bundle: Bundle) -> None:
    runtime = OnnxRuntime(bundle, CPU)
    alphas = np.linspace(-1, 1, math.prod(LATENT), dtype=np.float32)
    first = runtime.run("vae_decoder.onnx", {"latents": runtime.upload(alphas.reshape(1, *LATENT))})["image"]
    kept = runtime.download(first).copy()
    assert kept.std() > 0.1
    for scale in (2, 3):
        runtime.run("vae_decoder.onnx", {"latents": runtime.upload(scale * alphas.reshape(1, *LATENT))})
    np.testing.assert_array_equal(runtime.download(first), kept)
    assert first.shape == (1, 3, *IMAGE)
    again = runtime.run("vae_encoder.onnx", {"image": first})["latents"]
    np.testing.assert_allclose(runtime.download(again)[:, :3], alphas.reshape(1, *LATENT)[:, :3], rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (0, 4, 8, 8)])
def test_what_is_uploaded_comes_back_with_its_shape(bundle: Bundle, shape: tuple[int, ...]) -> None:
    runtime = OnnxRuntime(bundle, CPU)
    array = np.full(shape, 1.5, np.float32)
    value = runtime.upload(array)
    assert value.shape == shape
    np.testing.assert_array_equal(runtime.download(value), array, strict=True)


def test_what_was_uploaded_can_be_downloaded_and_kept_when_its_value_is_gone(bundle: Bundle) -> None:
    runtime = OnnxRuntime(bundle, CPU)
    kept = runtime.download(runtime.upload(np.full((4, *LATENT), 1.5, np.float32)))
    others = [np.full((4, *LATENT), 7, np.float32) for _ in range(20)]  # would take the place of freed memory
    assert len(others) == 20
    np.testing.assert_array_equal(kept, np.full((4, *LATENT), 1.5, np.float32))


def test_missing_onnxruntime_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "memscan.scanner.runtimes.quiet_onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, CPU)
    assert str(caught.value) == (
        'ONNX Runtime is not installed: pip install "memscan[cpu]" or, for NVIDIA GPUs and in an environment of its '
        'own, "memscan[gpu]"'
    )


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            'raise ImportError("libcublasLt.so.13: cannot open shared object file: No such file or directory")',
            "ONNX Runtime is installed and does not load: libcublasLt.so.13: cannot open shared object file: "
            "No such file or directory; it needs the libraries of CUDA 13 and cuDNN 9",
        ),
        (
            'raise ImportError("/lib/libm.so.6: version `GLIBC_2.38\' not found")',
            "ONNX Runtime is installed and does not load: /lib/libm.so.6: version `GLIBC_2.38' not found",
        ),
        (
            'raise ImportError("failed to map segment from shared object: Cannot allocate memory")',
            "out of memory while ONNX Runtime was loaded "
            "(failed to map segment from shared object: Cannot allocate memory)",
        ),
        (
            "import a_package_that_it_needs",
            'ONNX Runtime needs a_package_that_it_needs: pip install "memscan[cpu]" or, for NVIDIA GPUs and in an '
            'environment of its own, "memscan[gpu]"',
        ),
    ],
    ids=["cuda", "libc", "memory", "dependency"],
)
def test_onnxruntime_that_does_not_load_says_why(
    code: str, line: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("memscan.scanner.runtimes.quiet_onnxruntime", "onnxruntime"):
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(EnvironmentFailed) as caught:
        open_graphs(bundle, CPU)
    assert str(caught.value) == line


def test_out_of_memory_is_recognised_by_onnxruntimes_own_words(bundle: Bundle) -> None:
    # A decoder that asks for 2^50 bytes, so that ONNX Runtime's own words are met.
    replace_decoder(bundle, [helper.make_node("Expand", ["latents", "huge"], ["image"])], huge=[2**18, 2**10, 2**10, 1])
    engine = open_graphs(bundle, CPU)
    with pytest.raises(EnvironmentFailed, match=r"^out of memory in vae_decoder\.onnx \("):
        engine.decode(engine.upload(np.zeros((1, 1, 1, 1), np.float32)))


def test_a_failing_graph_is_named(bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    replace_decoder(bundle, [helper.make_node("Reshape", ["latents", "shape"], ["image"])], shape=[7])
    engine = open_graphs(bundle, CPU)
    with pytest.raises(EnvironmentFailed, match=r"^vae_decoder\.onnx failed: [^\n]*Reshape[^\n]*$"):
        engine.decode(engine.upload(np.zeros((1, 1, 1, 1), np.float32)))
    assert capfd.readouterr().err == ""  # the exception says it; ONNX Runtime's own log would say it twice


def test_a_graph_that_cannot_be_loaded_is_the_bundles_error(bundle: Bundle) -> None:
    bundle.file("measure.onnx").write_bytes(b"junk")
    engine = open_graphs(bundle, CPU)
    with pytest.raises(BundleError, match=r"measure\.onnx cannot be loaded: export the model again \([^\n]+\)$"):
        sample = engine.upload(np.zeros((1, *LATENT), np.float32))
        text = {"encoder_hidden_states": engine.upload(np.zeros((1, MAX_LENGTH, 5), np.float32))}
        tangents = engine.upload(np.ones((4, 1, *LATENT), np.float32))
        engine.measure(sample, Level(1, 0.9, 0.4), text, tangents, derivative="exact")


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("derivative", SLOPES)
def test_a_noise_level_of_no_table_gives_the_closed_form(
    bundle: Bundle, derivative: Derivative, baseline: bool
) -> None:
    """Between two training timesteps, and not even variance preserving: graphs take what they are told."""
    level, prompt, x = Level(123.4, 0.7, 0.2), "a red memorized mug", noise(3)[None]
    engine, tokens = open_graphs(bundle, CPU), Tokenizer(bundle)(prompt)
    text = {name: engine.upload(value) for name, value in engine.encode_text([tokens.ids[0][None]]).items()}
    probes = np.sign(noise(4))[None, None].repeat(4, axis=0)
    eps, v_dot_jv = engine.measure(
        engine.upload(x),
        level,
        text,
        engine.upload(probes.astype(np.float32)),
        derivative=derivative,
        baseline=baseline,
    )
    model = analytic_model("baseline" if baseline else "model")
    expected = model.eps(x[0].astype(np.float64), prompt, level.alpha, level.sigma)
    np.testing.assert_allclose(engine.download(eps)[0], expected, rtol=1e-5, atol=1e-5)
    jacobian = model.collapse(prompt, level.alpha, level.sigma) / level.sigma
    np.testing.assert_allclose(engine.download(v_dot_jv)[0], 4 * SLOPES[derivative] * jacobian, rtol=1e-5)


def test_a_step_answers_with_eps_of_prompt_and_none_beside_its_result(bundle: Bundle) -> None:
    level, prompt, x, previous = Level(123.4, 0.7, 0.2), "a red memorized mug", noise(3)[None], noise(5)[None]
    engine, tokenizer = open_graphs(bundle, CPU), Tokenizer(bundle)
    cond, uncond = (
        {name: engine.upload(value) for name, value in engine.encode_text([tokenizer(text).ids[0][None]]).items()}
        for text in (prompt, "")
    )
    step = SolverStep(level, 1.25, -0.5, 0.125)
    answer = engine.step(engine.upload(x), step, cond, uncond, engine.upload(previous), 2.5)
    assert answer._fields == ("next_sample", "denoised", "eps", "uncond_eps")
    eps_c, eps_0 = (
        analytic_model().eps(x[0].astype(np.float64), text, level.alpha, level.sigma) for text in (prompt, "")
    )
    eps = eps_0 + 2.5 * (eps_c - eps_0)
    expected = 1.25 * x[0] - 0.5 * eps + 0.125 * previous[0], (x[0] - level.sigma * eps) / level.alpha, eps_c, eps_0
    for found, value in zip(answer, expected, strict=True):
        np.testing.assert_allclose(engine.download(found)[0], value, rtol=1e-5, atol=2e-5)


def test_a_step_on_the_host_equals_the_graphs(bundle: Bundle) -> None:
    level, x, previous = Level(123.4, 0.7, 0.2), noise(3)[None], noise(5)[None]
    engine, tokenizer = open_graphs(bundle, CPU), Tokenizer(bundle)
    cond, uncond = (
        {name: engine.upload(value) for name, value in engine.encode_text([tokenizer(text).ids[0][None]]).items()}
        for text in ("a red memorized mug", "")
    )
    step = SolverStep(level, 1.25, -0.5, 0.125)
    answer = engine.step(engine.upload(x), step, cond, uncond, engine.upload(previous), 2.5)
    eps, uncond_eps = engine.download(answer.eps), engine.download(answer.uncond_eps)
    next_x, denoised = step.take(x, eps, uncond_eps, previous, 2.5)
    assert (next_x.dtype, denoised.dtype) == (np.float32, np.float32)
    for found, value in ((next_x, answer.next_sample), (denoised, answer.denoised)):
        # Sums of terms below 40, each rounded in float32.
        np.testing.assert_allclose(found, engine.download(value), rtol=1e-6, atol=1e-5)


def noise(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(LATENT).astype(np.float32)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "CUDA failure 2: out of memory ; GPU=0\nmore",
            "out of memory in text_encoder.onnx (CUDA failure 2: out of memory ; GPU=0)",
        ),
        (
            "CUDA failure 35: CUDA driver version is insufficient\nmore",
            "CUDA failed to load text_encoder.onnx: mend it, or use --provider cpu "
            "(CUDA failure 35: CUDA driver version is insufficient)",
        ),
    ],
    ids=["memory", "driver"],
)
def test_a_device_that_fails_on_loading_is_no_fault_of_the_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, words: str, line: str
) -> None:
    def session(*arguments: object, **options: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(words)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(EnvironmentFailed) as caught:
        _ = open_graphs(bundle, CPU).device
    assert str(caught.value) == line


def test_threads_are_those_asked_for_or_those_usable(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    counts: list[int] = []
    original = onnxruntime.InferenceSession

    def session(path: Path, options: onnxruntime.SessionOptions, providers: list[str]) -> object:
        counts.append(options.intra_op_num_threads)
        return original(path, onnxruntime.SessionOptions(), providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for threads in (0, 2):
        _ = open_graphs(bundle, dataclasses.replace(CPU, threads=threads)).device
    assert counts == [3, 2]


def replace_decoder(bundle: Bundle, nodes: list[onnx.NodeProto], **constants: list[int]) -> None:
    dynamic = ["n", "c", "h", "w"]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, dynamic)],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, None)],
        initializer=[
            helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    bundle.file("vae_decoder.onnx").write_bytes(model.SerializeToString())
