"""Half precision where it can go wrong: onnx's reference evaluator computes float16 and bfloat16 as such.

ONNX Runtime's CPU provider does not. The truth is torch in float64, differentiated forwards.
"""

import copy
import functools

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from memscan.export.autodiff.cut import CUTS
from memscan.export.autodiff.tape import Tape
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.nodes.conditions import Unfit
from memscan.export.parity.detached import detached
from memscan.export.parity.oracle import DenoiserOracle
from memscan.export.passes import half_precision
from memscan.export.passes.half_precision import HALF_TYPES, Precision
from memscan.scanner.settings import Derivative
from tests.export.graphs.families import FAMILIES, LATENT, TANGENTS, TEXT, graphs, tiny_denoiser, traced

LIMITS: dict[Precision, float] = {"fp16": 1e-2, "bf16": 8e-2}
"""Relative, in the norm: about 20 units of rounding, 2^-11 and 2^-8, for weights and activations are rounded at each of
some hundred nodes. Found are 2e-3 and 2e-2. The error of a difference is compared with the difference."""

TEXT_SCALE = 3.0
"""Makes the text matter as much as the image: |dh| is about |h|, as in a trained model where an image is memorized."""

Feed = dict[str, torch.Tensor]


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("precision", list(LIMITS))
def test_derivative_and_its_difference_equal_float64(family: str, precision: Precision) -> None:
    model = graphs(family, precision)["measure.onnx"]
    (eps, h_c), (_, h_0) = (_evaluate(model, _inputs(family, text_seed=seed)) for seed in (1, 2))
    (true_eps, true_h_c), (_, true_h_0) = (_truth(family, text_seed=seed) for seed in (1, 2))
    assert _error(eps, true_eps) < LIMITS[precision]
    assert _error(h_c, true_h_c) < LIMITS[precision]
    assert _error(h_c - h_0, true_h_c - true_h_0) < LIMITS[precision]


@pytest.mark.parametrize("precision", list(LIMITS))
@pytest.mark.parametrize("kind", ["frozen", "shallow"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_other_kinds_equal_float64(family: str, kind: Derivative, precision: Precision) -> None:
    eps, h = _evaluate(graphs(family, precision)[f"measure.{kind}.onnx"], _inputs(family))
    true_eps, true_h = _truth(family, kind=kind)
    assert _error(eps, true_eps) < LIMITS[precision]
    assert _error(h, true_h) < LIMITS[precision]


@pytest.mark.parametrize("precision", list(LIMITS))
def test_guided_step_equals_torch(family: str, precision: Precision) -> None:
    """The update is computed in float32, so that its error is the denoiser's."""
    traced(family)
    case = DenoiserOracle(tiny_denoiser(family), LATENT, TEXT).step()
    model = graphs(family, precision)["step.onnx"]
    outputs = ReferenceEvaluator(ir.to_proto(model)).run(None, case.feed)
    for found, (name, expected) in zip(outputs, case.expected.items(), strict=True):
        assert found.dtype == np.float32
        assert _error(found, expected) < LIMITS[precision], name


def test_activations_of_a_thousand_do_not_overflow_float16(family: str) -> None:
    """Their squares and sums do not fit: 1e3 squared is 15 times the largest number of float16."""
    eps, h = _evaluate(graphs(family, "fp16")["measure.onnx"], _inputs(family, scale=1e3))
    true_eps, true_h = _truth(family, scale=1e3)
    assert _error(eps, true_eps) < LIMITS["fp16"]
    assert _error(h, true_h) < LIMITS["fp16"]


def test_sums_of_a_norm_in_half_precision_are_refused_before_they_could_overflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(half_precision, "_IN_FLOAT32", frozenset())
    with pytest.raises(Unfit, match=r"GroupNormalization .* expected float32 or float64"):
        denoiser_graphs(traced("sd1"), tangents=TANGENTS, precision="fp16")


def test_the_test_of_large_activations_would_notice_sums_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "_IN_FLOAT32", frozenset())
    monkeypatch.setattr(Tape, "accumulator", lambda tape, x: x)
    model = denoiser_graphs(traced("sd1"), tangents=TANGENTS, precision="fp16", guided=False)["measure.onnx"]
    with np.errstate(all="ignore"):
        _, h = _evaluate(model, _inputs("sd1", scale=1e3))
    assert not _error(h, _truth("sd1", scale=1e3)[1]) < LIMITS["fp16"]


@pytest.mark.parametrize("precision", list(LIMITS))
def test_products_are_half_and_sums_are_float32(family: str, precision: Precision) -> None:
    half, original = HALF_TYPES[precision], {node.name: node for node in traced(family).graph}
    for model in graphs(family, precision).values():
        for node in model.graph:
            dtypes = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
            is_product = node.op_type in ("Conv", "MatMul", "Gemm") or node.domain
            if is_product and not (node.name or "").startswith("observed/"):  # those enlarge maps of attention
                assert dtypes == {half}, node.name
            if node.op_type.endswith("Normalization") or node.op_type in ("Softmax", "ReduceMean", "ReduceSum", "Sin"):
                assert half not in dtypes, node.name
    assert all(half not in {value.dtype for value in node.outputs} for node in original.values())


@pytest.mark.parametrize("precision", list(LIMITS))
def test_inputs_and_outputs_stay_float32(family: str, precision: Precision) -> None:
    for name, model in graphs(family, precision).items():
        of_float32 = graphs(family)[name]
        for values, expected in (
            (model.graph.inputs, of_float32.graph.inputs),
            (model.graph.outputs, of_float32.graph.outputs),
        ):
            assert [(x.name, x.dtype, str(x.shape)) for x in values] == [
                (x.name, x.dtype, str(x.shape)) for x in expected
            ]


def _inputs(family: str, *, text_seed: int = 1, scale: float = 1.0) -> Feed:
    image, text = (torch.Generator().manual_seed(seed) for seed in (0, text_seed))
    shapes = tiny_denoiser(family).input_shapes(1, LATENT, TEXT)
    sample = torch.randn(shapes.pop("sample"), generator=image)
    tangents = torch.randn(TANGENTS, *sample.shape, generator=image).sign()
    level = {"timestep": torch.tensor([21.0]), "alpha": torch.tensor([0.96]), "sigma": torch.tensor([0.28])}
    texts = {name: torch.randn(shape, generator=text) for name, shape in shapes.items() if name not in level}
    texts["encoder_hidden_states"] *= TEXT_SCALE
    return {"sample": scale * sample, **level, **texts, "tangents": tangents}


def _evaluate(model: ir.Model, feed: Feed) -> list[np.ndarray]:
    """eps and v_dot_jv, in the dtypes that the graph has."""
    found = ReferenceEvaluator(ir.to_proto(model)).run(None, {name: value.numpy() for name, value in feed.items()})
    return [np.asarray(value) for value in found]


@functools.cache
def _truth(
    family: str, *, text_seed: int = 1, scale: float = 1.0, kind: Derivative = "exact"
) -> tuple[np.ndarray, np.ndarray]:
    """eps and v_dot_jv in float64."""
    feed = _inputs(family, text_seed=text_seed, scale=scale)
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in feed.items()}
    tangents, sample = inputs.pop("tangents"), inputs.pop("sample")
    denoiser, total = _double(family), torch.zeros_like(sample)
    with detached(denoiser.unet, CUTS[kind]):
        for v in tangents:
            eps, jv = torch.func.jvp(lambda x: denoiser(x, **inputs), (sample,), (v,))
            total += v * jv
    return eps.numpy(), total.numpy()


@functools.cache
def _double(family: str) -> EpsDenoiser:
    traced(family)
    return copy.deepcopy(tiny_denoiser(family)).double()


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
