"""A tiny bundle of the analytic model: a whole scan of it has a known answer, and takes milliseconds.

The Jacobian is diagonal, so that any probes of +-1 give it exactly. The "VAE" is linear: the decoder enlarges the first
three channels four times, the encoder takes block means. Its shallow derivative is `SHALLOW` times the exact one.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from memscan.scanner.bundle import (
    Bundle,
    Gives,
    bundle_record,
    file_digest,
    open_bundle,
)
from memscan.scanner.bundle_parts import Calibration, Certificate, Defaults, Dtypes, Text, Tokenization
from memscan.scanner.graph_names import CONDITION, OBSERVE, UNGUIDED, measure, of_baseline
from memscan.scanner.schedules import DdpmSchedule, Schedule
from memscan.scanner.settings import Derivative, Probes, Sampler
from tests.analytic_model import (
    FEATURE_NAMES,
    FEATURES,
    LATENT,
    MAX_LENGTH,
    RAMP,
    SAID_BY_PADDING,
    TOKEN_SCORES,
    Analytic,
    analytic_model,
    word_features,
)

IMAGE = (32, 32)
PAD, BOS, EOS, UNK = 0, 1, 2, 3
SHALLOW = 0.75
"""Of the exact derivative; eps is the same, as in every kind."""
SLOPES: dict[Derivative, float] = {"exact": 1.0, "shallow": SHALLOW}
TANGENT_PASSES: dict[Derivative, float] = {"exact": 1.15, "shallow": 0.25}
"""Forward passes that this bundle says a tangent adds to the one of its call."""
GIVES: dict[str, Gives] = {
    "step.onnx": {"eps": ("prompt", "none"), "denoised": ("prompt",)},
    **{measure(kind): {"eps": ("prompt", "none"), "diagonal": ("prompt", "none")} for kind in SLOPES},
    **{of_baseline(measure(kind)): {"eps": ("baseline",), "diagonal": ("baseline",)} for kind in SLOPES},
    OBSERVE: dict.fromkeys(("last_token_attention", "token_attention", "bottleneck"), ("prompt", "none")),
    CONDITION: {"condition_product": ("prompt",)},
    UNGUIDED: {"eps": ("prompt",), "denoised": ("prompt",)},
}


def write_analytic_bundle(
    path: Path,
    *,
    baseline: bool = True,
    baseline_text_encoder: bool = False,
    tangents_per_call: int = 4,
    num_inference_steps: int = 10,
    timesteps: tuple[int, ...] = (201, 101, 1),
    probes: Probes | None = None,
    threshold: float = 0.1,
    calibrated: bool = True,
    derivative: Derivative = "exact",
    certificate: Certificate | None = None,
    schedule: Schedule | None = None,
    prediction_type: str = "epsilon",
    sampler: Sampler = "ddim",
    unguided: bool = False,
) -> Bundle:
    """Write the bundle to the new folder `path` and open it.

    Args:
        baseline: whether there is a less-trained checkpoint.
        baseline_text_encoder: whether it has a text encoder of its own.
        timesteps: default timesteps of a scan, each one of the sampler's.
        calibrated: record `threshold` as calibrated for dh_uncond at each default timestep and the default settings.
        derivative: the default one, and that of the calibrations; the bundle has exact and shallow.
        schedule: None for Stable Diffusion's.
        prediction_type: what the step says that it predicts: only where that is not eps may alpha be 0.
        sampler: the default one.
        unguided: whether there is a graph of steps with the prompt alone.
    """
    path.mkdir(parents=True)
    schedule = schedule or ddpm_schedule()
    probes = probes or Probes()
    defaults = Defaults(num_inference_steps, 2.5, timesteps, probes, "dh_uncond", sampler, derivative)
    calibrations = tuple(
        Calibration(
            "dh_uncond",
            timestep,
            threshold,
            num_inference_steps,
            defaults.guidance_scale,
            probes,
            sampler,
            derivative,
        )
        for timestep in timesteps
    )
    model = analytic_model()
    graphs = {
        "text_encoder.onnx": _text_encoder(model),
        "step.onnx": _step(model, prediction_type),
        **{measure(kind): _measure(model, tangents_per_call, slope) for kind, slope in SLOPES.items()},
        OBSERVE: _observe(),
        CONDITION: _condition(model),
        "vae_decoder.onnx": _vae_decoder(),
        "vae_encoder.onnx": _vae_encoder(),
    }
    if unguided:
        graphs[UNGUIDED] = _unguided_step(model)
    if baseline:
        less_trained = analytic_model("baseline", own_text_encoder=baseline_text_encoder)
        for kind, slope in SLOPES.items():
            graphs[of_baseline(measure(kind))] = _measure(less_trained, tangents_per_call, slope)
        if baseline_text_encoder:
            graphs["baseline/text_encoder.onnx"] = _text_encoder(less_trained)
    for name, graph in graphs.items():
        file = path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(graph.SerializeToString())
    _tokenizer().save(str(path / "tokenizer.json"))

    checkpoint = {"id": "analytic", "revision": None, "digest": "0" * 64}
    record = bundle_record(
        model=checkpoint,
        prediction_type=prediction_type,
        latent_shape=LATENT,
        image_size=IMAGE,
        schedule=schedule,
        text=Text((Tokenization("tokenizer.json", MAX_LENGTH, PAD, EOS, BOS),)),
        tangents_per_call=tangents_per_call,
        passes={kind: 1 + passes * tangents_per_call for kind, passes in TANGENT_PASSES.items()},
        certificate=certificate,
        defaults=defaults,
        calibrations=calibrations if calibrated else (),
        baseline={**checkpoint, "id": "analytic-early", "text_encoder": baseline_text_encoder} if baseline else None,
        dtypes=Dtypes("float32", "float32"),
        graphs=GIVES,
        files={name: file_digest(path / name) for name in (*graphs, "tokenizer.json")},
    )
    (path / "bundle.json").write_text(json.dumps(record))
    return open_bundle(path)


def ddpm_schedule() -> DdpmSchedule:
    """Stable Diffusion's: scaled-linear betas, 1000 training timesteps, leading spacing."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return DdpmSchedule(1000, tuple(np.cumprod(1 - betas).tolist()), 1, False, "leading")


def _tokenizer() -> Tokenizer:
    vocabulary = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS, "<unk>": UNK}
    vocabulary |= {word: len(vocabulary) + i for i, word in enumerate(FEATURES)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    return tokenizer


class _Graph:
    """Builds one ONNX graph: every call of an operator adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def finish(self, inputs: dict[str, list[str | int]], outputs: dict[str, list[str | int]]) -> onnx.ModelProto:
        declare = [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name == "input_ids" else TensorProto.FLOAT, shape)
            for name, shape in (inputs | outputs).items()
        ]
        graph = helper.make_graph(
            self.nodes, "analytic", declare[: len(inputs)], declare[len(inputs) :], initializer=self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model

    def noise_level(self) -> tuple[str, str]:
        """The inputs alpha and sigma as [N, 1, 1, 1]; the closed form needs no timestep."""
        shape = self.constant([-1, 1, 1, 1], np.int64)
        alpha, sigma = (self.add("Reshape", name, shape) for name in ("alpha", "sigma"))
        return alpha, sigma

    def denoiser(self, model: Analytic, hidden_states: str, alpha: str, sigma: str) -> tuple[str, str, str, str]:
        """eps, d eps / d sample, alpha^2 s^2 and the denoised estimate, each [N, C, h, w]."""
        features = self.add("ReduceSum", hidden_states, self.constant([1], np.int64), keepdims=0)
        flat = len(FEATURE_NAMES), -1
        shape = self.constant([-1, *LATENT], np.int64)
        direction = self.add("MatMul", features, self.constant(model.directions.reshape(flat)))
        log_variance = self.add(
            "Add", self.add("Reshape", direction, shape), self.constant(model.base_log_variance[None])
        )
        mean = self.add("Reshape", self.add("MatMul", features, self.constant(model.means.reshape(flat))), shape)
        share = self.add("Mul", alpha, self.add("Exp", log_variance))
        signal = self.add("Mul", alpha, share)
        total = self.add("Add", signal, self.add("Mul", sigma, sigma))
        jacobian = self.add("Div", sigma, total)
        centred = self.add("Sub", "sample", self.add("Mul", alpha, mean))
        denoised = self.add("Add", mean, self.add("Mul", self.add("Div", share, total), centred))
        return self.add("Mul", jacobian, centred), jacobian, signal, denoised


def _states() -> list[str | int]:
    return ["N", MAX_LENGTH, len(FEATURE_NAMES)]


def _level() -> dict[str, list[str | int]]:
    return {name: ["N"] for name in ("timestep", "alpha", "sigma")}


def _text_encoder(model: Analytic) -> onnx.ModelProto:
    graph = _Graph()
    rows = [np.zeros(len(FEATURE_NAMES))] * (UNK + 1) + [word_features(word) for word in FEATURES]
    table = graph.constant(model.feature_scale * np.stack(rows))
    words = graph.add("Gather", table, "input_ids")
    said = graph.add("ReduceSum", words, graph.constant([1], np.int64), keepdims=1)  # [N, 1, F]
    last = graph.add("Gather", "input_ids", graph.constant([MAX_LENGTH - 1], np.int64), axis=1)
    is_padding = graph.add("Cast", graph.add("Equal", last, graph.constant(PAD, np.int64)), to=TensorProto.FLOAT)
    moved = graph.add("Mul", said, graph.add("Unsqueeze", is_padding, graph.constant([2], np.int64)))
    share = np.zeros((1, MAX_LENGTH, 1))
    share[:, 0], share[:, -1] = -SAID_BY_PADDING, SAID_BY_PADDING
    graph.add("Add", words, graph.add("Mul", moved, graph.constant(share)), output="encoder_hidden_states")
    return graph.finish({"input_ids": ["N", MAX_LENGTH]}, {"encoder_hidden_states": _states()})


def _step(model: Analytic, prediction_type: str) -> onnx.ModelProto:
    graph = _Graph()
    alpha, sigma = graph.noise_level()
    eps_c, _, _, denoised_c = graph.denoiser(model, "encoder_hidden_states", alpha, sigma)
    eps_0, _, _, denoised_0 = graph.denoiser(model, "uncond_encoder_hidden_states", alpha, sigma)
    graph.add("Identity", eps_c, output="eps")
    graph.add("Identity", eps_0, output="uncond_eps")
    eps = graph.add("Add", eps_0, graph.add("Mul", "guidance_scale", graph.add("Sub", eps_c, eps_0)))
    if prediction_type == "epsilon":
        noiseless = graph.add("Sub", "sample", graph.add("Mul", sigma, eps))
        graph.add("Div", noiseless, alpha, output="denoised")
    else:
        guided = graph.add("Mul", "guidance_scale", graph.add("Sub", denoised_c, denoised_0))
        graph.add("Add", denoised_0, guided, output="denoised")
    _update(graph, eps)
    latents: list[str | int] = ["N", *LATENT]
    inputs: dict[str, list[str | int]] = {
        "sample": latents,
        **_level(),
        "encoder_hidden_states": _states(),
        "uncond_encoder_hidden_states": _states(),
        "previous_denoised": latents,
        **{scalar: [] for scalar in ("guidance_scale", "a", "b", "c", "d")},
    }
    return graph.finish(inputs, dict.fromkeys(("next_sample", "denoised", "eps", "uncond_eps"), latents))


def _update(graph: _Graph, eps: str) -> None:
    terms = [graph.add("Mul", "a", "sample"), graph.add("Mul", "b", eps), graph.add("Mul", "c", "previous_denoised")]
    terms.append(graph.add("Mul", "d", "denoised"))
    graph.add("Sum", *terms, output="next_sample")


def _unguided_step(model: Analytic) -> onnx.ModelProto:
    graph = _Graph()
    alpha, sigma = graph.noise_level()
    eps, *_ = graph.denoiser(model, "encoder_hidden_states", alpha, sigma)
    graph.add("Identity", eps, output="eps")
    graph.add("Div", graph.add("Sub", "sample", graph.add("Mul", sigma, eps)), alpha, output="denoised")
    _update(graph, eps)
    latents: list[str | int] = ["N", *LATENT]
    inputs: dict[str, list[str | int]] = {
        "sample": latents,
        **_level(),
        "encoder_hidden_states": _states(),
        "previous_denoised": latents,
        **{scalar: [] for scalar in ("a", "b", "c", "d")},
    }
    return graph.finish(inputs, dict.fromkeys(("next_sample", "denoised", "eps"), latents))


def _measure(model: Analytic, tangents_per_call: int, slope: float) -> onnx.ModelProto:
    graph = _Graph()
    alpha, sigma = graph.noise_level()
    eps, jacobian, *_ = graph.denoiser(model, "encoder_hidden_states", alpha, sigma)
    graph.add("Identity", eps, output="eps")
    tangents_dot = graph.add("Mul", graph.add("Mul", jacobian, graph.constant(slope)), "tangents")
    products = graph.add("Mul", "tangents", tangents_dot)
    graph.add("ReduceSum", products, graph.constant([0], np.int64), keepdims=0, output="v_dot_jv")
    latents: list[str | int] = ["N", *LATENT]
    inputs: dict[str, list[str | int]] = {
        "sample": latents,
        **_level(),
        "encoder_hidden_states": _states(),
        "tangents": [tangents_per_call, *latents],
    }
    return graph.finish(inputs, {"eps": latents, "v_dot_jv": latents})


def _observe() -> onnx.ModelProto:
    graph = _Graph()
    scores = graph.add("MatMul", "encoder_hidden_states", graph.constant(TOKEN_SCORES[:, None]))  # [N, S, 1]
    mean = graph.add("ReduceMean", "sample", graph.constant([1], np.int64), keepdims=0)  # [N, h, w]
    positions = graph.add("Reshape", mean, graph.constant([0, -1, 1], np.int64))
    products = graph.add("MatMul", positions, graph.add("Transpose", scores, perm=[0, 2, 1]))  # [N, h w, S]
    weights = graph.add("Softmax", graph.add("Add", products, graph.constant(RAMP)), axis=-1)
    graph.add("ReduceMean", weights, graph.constant([1], np.int64), keepdims=0, output="token_attention")
    last = graph.add("Gather", weights, graph.constant([MAX_LENGTH - 1], np.int64), axis=2)
    graph.add("Reshape", last, graph.constant([-1, 1, *LATENT[1:]], np.int64), output="last_token_attention")
    total = graph.add("ReduceSum", scores, graph.constant([1], np.int64), keepdims=1)  # [N, 1, 1]
    factor = graph.add("Unsqueeze", graph.add("Add", total, graph.constant(1.0)), graph.constant([3], np.int64))
    squares = graph.add("AveragePool", "sample", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Mul", squares, factor, output="bottleneck")
    channels, height, width = LATENT
    inputs: dict[str, list[str | int]] = {"sample": ["N", *LATENT], **_level(), "encoder_hidden_states": _states()}
    outputs: dict[str, list[str | int]] = {
        "last_token_attention": ["N", 1, height, width],
        "token_attention": ["N", MAX_LENGTH],
        "bottleneck": ["N", channels, height // 2, width // 2],
    }
    return graph.finish(inputs, outputs)


def _condition(model: Analytic) -> onnx.ModelProto:
    """With f the features, J = sigma / (alpha^2 s^2 + sigma^2) and eps = J (x - alpha m), s^2 = exp(b + f d), m = f u:

    eps' = - J alpha f' u - (J / sigma) alpha^2 s^2 eps (f' d)
    """
    graph = _Graph()
    alpha, sigma = graph.noise_level()
    eps, jacobian, signal, _ = graph.denoiser(model, "encoder_hidden_states", alpha, sigma)
    graph.add("Identity", eps, output="eps")
    direction = graph.add("Sub", "encoder_hidden_states", "uncond_encoder_hidden_states")
    features = graph.add("ReduceSum", direction, graph.constant([1], np.int64), keepdims=0)
    shape, flat = graph.constant([-1, *LATENT], np.int64), (len(FEATURE_NAMES), -1)
    log_variance, mean = (
        graph.add("Reshape", graph.add("MatMul", features, graph.constant(table.reshape(flat))), shape)
        for table in (model.directions, model.means)
    )
    free = graph.add("Mul", graph.add("Div", jacobian, sigma), signal)
    of_variance = graph.add("Mul", graph.add("Mul", free, eps), log_variance)
    of_mean = graph.add("Mul", graph.add("Mul", jacobian, alpha), mean)
    graph.add("Neg", graph.add("Add", of_variance, of_mean), output="condition_product")
    latents: list[str | int] = ["N", *LATENT]
    inputs: dict[str, list[str | int]] = {
        "sample": latents,
        **_level(),
        "encoder_hidden_states": _states(),
        "uncond_encoder_hidden_states": _states(),
    }
    return graph.finish(inputs, dict.fromkeys(("eps", "condition_product"), latents))


def _vae_decoder() -> onnx.ModelProto:
    """The first three channels, each latent pixel a 4 x 4 block."""
    graph = _Graph()
    axis = graph.constant([1], np.int64)
    colours = graph.add("Slice", "latents", graph.constant([0], np.int64), graph.constant([3], np.int64), axis)
    graph.add("Resize", colours, "", graph.constant([1, 1, 4, 4]), output="image", mode="nearest")
    return graph.finish({"latents": ["N", *LATENT]}, {"image": ["N", 3, *IMAGE]})


def _vae_encoder() -> onnx.ModelProto:
    """The mean of every 4 x 4 block, and as fourth channel the mean of the three colours."""
    graph = _Graph()
    colours = graph.add("AveragePool", "image", kernel_shape=[4, 4], strides=[4, 4])
    grey = graph.add("ReduceMean", colours, graph.constant([1], np.int64), keepdims=1)
    graph.add("Concat", colours, grey, output="latents", axis=1)
    return graph.finish({"image": ["N", 3, *IMAGE]}, {"latents": ["N", *LATENT]})
