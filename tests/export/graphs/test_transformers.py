"""Whole random transformers of flow matching: traced, differentiated and run in ONNX Runtime, against torch."""

import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch
from diffusers import FluxPipeline

from memscan.export.autodiff.cut import CUTS, TRANSFORMER_CUTS, Cut
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.mmdit import Mmdit
from memscan.export.checkpoint.packed_flux import PackedFlux
from memscan.export.graphs.graphs import denoiser_graphs, given_by
from memscan.export.graphs.measure import measure_graph
from memscan.export.parity.detached_transformer import detached_transformer
from memscan.export.parity.oracle import Case, DenoiserOracle
from memscan.scanner.graph_names import measure
from memscan.scanner.settings import DERIVATIVES, Derivative
from tests.export.graph_run import error, run
from tests.export.graphs.transformers import (
    LATENT,
    MISSING,
    POOLED,
    TANGENTS,
    TEXT,
    TRANSFORMERS,
    graphs,
    tiny_flow_denoiser,
    tiny_flux,
    tiny_mmdit,
    traced,
)

LIMIT = 1e-5
"""Relative, in the norm: the limit of the export's parity check; float32 in two orders of summation gives 1e-6."""
HALF_LIMIT = 1e-2
"""That of float16's."""


@pytest.fixture(params=TRANSFORMERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_measure_graph_equals_torch_forward_mode_in_float64(family: str) -> None:
    denoiser = copy.deepcopy(tiny_flow_denoiser(family)).double()
    feed = inputs(family, batch=3)
    found = run(graphs(family)["measure.onnx"], feed)
    inner = {name: torch.from_numpy(array).double() for name, array in feed.items()}
    tangents, sample = inner.pop("tangents"), inner.pop("sample")
    total = torch.zeros_like(sample)
    with torch.no_grad(), detached_transformer(denoiser.network, CUTS["exact"]):
        for v in tangents:
            eps, jv = torch.func.jvp(lambda x: denoiser(x, **inner), (sample,), (v,))
            total += v * jv
    assert error(found["eps"], eps.numpy()) < LIMIT
    assert error(found["v_dot_jv"], total.numpy()) < LIMIT


@pytest.mark.parametrize("kind", DERIVATIVES)
def test_every_kind_equals_torch_with_detached_paths(family: str, kind: Derivative) -> None:
    case = oracle(family).measure(TANGENTS, TRANSFORMER_CUTS[kind])
    name = "measure.onnx" if kind == "exact" else f"measure.{kind}.onnx"
    assert_equal(graphs(family)[name], case)


@pytest.mark.parametrize("hold_statistics", [False, True])
def test_tangents_without_attention_equal_torch_with_detached_paths(family: str, hold_statistics: bool) -> None:
    cut = Cut(attention=(0, 0), hold_statistics=hold_statistics)
    assert_equal(measure_graph(traced(family), TANGENTS, cut), oracle(family).measure(TANGENTS, cut))


def test_without_attention_a_patch_answers_to_itself_alone(family: str) -> None:
    cut = Cut(attention=(0, 0))
    feed = inputs(family, batch=1)
    feed["tangents"] = np.zeros_like(feed["tangents"])
    feed["tangents"][0, :, :, :2, :2] = 1
    model = measure_graph(traced(family), TANGENTS, cut)
    assert np.abs(run(model, feed)["v_dot_jv"]).max() > 0.1
    everywhere = np.ones_like(feed["tangents"])
    alone = run(model, feed)["v_dot_jv"][..., :2, :2]
    together = run(model, feed | {"tangents": everywhere})["v_dot_jv"][..., :2, :2] / TANGENTS
    assert error(together, alone) < LIMIT


@pytest.mark.parametrize("kind", ["shallow", "frozen"])
def test_a_cheaper_kind_leaves_something_out(family: str, kind: Derivative) -> None:
    """Else the comparison with torch could not fail."""
    cheaper, exact = (oracle(family).measure(TANGENTS, TRANSFORMER_CUTS[one]) for one in (kind, "exact"))
    assert error(cheaper.expected["v_dot_jv"], exact.expected["v_dot_jv"]) > 1e-3
    assert error(cheaper.expected["eps"], exact.expected["eps"]) < LIMIT


def test_what_detaches_changes_no_value(family: str) -> None:
    """The attention that torch differentiates is the transformer's own, and so are the norms."""
    denoiser = tiny_flow_denoiser(family)
    feed = {name: torch.from_numpy(array) for name, array in inputs(family, batch=2).items() if name != "tangents"}
    with torch.no_grad():
        own = denoiser(**feed)
        with detached_transformer(denoiser.network, CUTS["frozen"]):
            detached = denoiser(**feed)
    assert error(detached.numpy(), own.numpy()) < LIMIT


def test_collapse_of_flow_matching_comes_out_of_the_conversion(family: str) -> None:
    """h = s (1 + (1 - s) diag J_v), with J_v of the transformer alone; sigma diag J_eps is what a scan makes of eps."""
    denoiser, feed = tiny_flow_denoiser(family), inputs(family, batch=2)
    found = run(graphs(family)["measure.onnx"], feed)["v_dot_jv"]
    inner = {name: torch.from_numpy(array) for name, array in feed.items()}
    names = "timestep", "encoder_hidden_states", "text_embeds", "guidance"
    arguments = [inner[name] for name in names if name in inner]
    s = inner["sigma"][:, None, None, None]
    expected = torch.zeros_like(inner["sample"])
    with torch.no_grad(), detached_transformer(denoiser.network, CUTS["exact"]):
        for v in inner["tangents"]:
            _, jv = torch.func.jvp(lambda x: denoiser.network(x, *arguments), (inner["sample"],), (v,))
            expected += s * (v * v + (1 - s) * v * jv)
    assert error(feed["sigma"][:, None, None, None] * found, expected.numpy()) < LIMIT


def test_guided_step_equals_torch(family: str) -> None:
    assert_equal(graphs(family)["step.onnx"], oracle(family).step())


def test_step_with_the_prompt_alone_equals_torch(family: str) -> None:
    assert_equal(graphs(family)["unguided.onnx"], oracle(family).unguided_step())


def test_condition_graph_equals_torch_forward_mode(family: str) -> None:
    assert_equal(graphs(family)["condition.onnx"], oracle(family).condition())


def test_half_precision_stays_close(family: str) -> None:
    case = oracle(family).measure(TANGENTS)
    exact = {"exact": CUTS["exact"]}
    narrow = denoiser_graphs(traced(family), tangents=TANGENTS, precision="fp16", guided=False, cuts=exact)
    found = run(narrow["measure.onnx"], case.feed)
    for name, expected in case.expected.items():
        assert error(found[name], expected) < HALF_LIMIT, name


def test_there_are_the_graphs_that_a_transformer_can_have(family: str) -> None:
    measuring = {measure(kind) for kind in DERIVATIVES}
    assert set(graphs(family)) == {*measuring, "step.onnx", "unguided.onnx", "condition.onnx"}
    given = given_by(graphs(family))
    assert not given["observe.onnx"]


def test_graphs_keep_the_contract_and_hold_what_every_engine_knows(family: str) -> None:
    measure = graphs(family)["measure.onnx"]
    signature = [(value.name, str(value.shape)) for value in (*measure.graph.inputs, *measure.graph.outputs)]
    assert signature == [
        ("sample", "[N,4,8,8]"),
        *((name, "[N]") for name in ("timestep", "alpha", "sigma")),
        ("encoder_hidden_states", "[N,7,24]"),
        ("text_embeds", "[N,20]"),
        *([("guidance", "[N]")] if family == "flux" else []),
        ("tangents", "[3,N,4,8,8]"),
        ("eps", "[N,4,8,8]"),
        ("v_dot_jv", "[N,4,8,8]"),
    ]
    for model in graphs(family).values():
        operators = {node.op_type for node in model.graph if not node.domain}
        assert not operators & {"Attention", "Einsum", "RMSNormalization"}


def test_positions_are_cropped_as_the_pipeline_crops_them() -> None:
    """The untouched transformer, trained for more patches, on the same latents; only what they use is kept."""
    torch.manual_seed(1)
    whole = tiny_mmdit(TEXT[1])
    cropped = FlowDenoiser(Mmdit(copy.deepcopy(whole), LATENT), POOLED)
    feed = {name: torch.from_numpy(array) for name, array in inputs("sd3", batch=2).items() if name != "tangents"}
    with torch.no_grad():
        v = whole(
            hidden_states=feed["sample"],
            timestep=feed["timestep"],
            encoder_hidden_states=feed["encoder_hidden_states"],
            pooled_projections=feed["text_embeds"],
        ).sample
        found = cropped(**feed)
    torch.testing.assert_close(found, feed["sample"] + feed["alpha"][:, None, None, None] * v, rtol=0, atol=1e-6)
    assert tuple(whole.pos_embed.pos_embed.shape) == (1, 36, 32)
    assert tuple(cropped.network.transformer.pos_embed.pos_embed.shape) == (1, 16, 32)


def test_text_that_is_missing_is_zeros() -> None:
    denoiser = tiny_flow_denoiser("sd3")
    feed = {name: torch.from_numpy(array) for name, array in inputs("sd3", batch=2).items() if name != "tangents"}
    states = torch.zeros(2, TEXT[0] + MISSING, TEXT[1] + 8)
    states[:, : TEXT[0], : TEXT[1]] = feed["encoder_hidden_states"]
    with torch.no_grad():
        v = denoiser.network.transformer(
            hidden_states=feed["sample"],
            timestep=feed["timestep"],
            encoder_hidden_states=states,
            pooled_projections=feed["text_embeds"],
        ).sample
        found = denoiser(**feed)
    torch.testing.assert_close(found, feed["sample"] + feed["alpha"][:, None, None, None] * v, rtol=0, atol=1e-6)


def test_latents_are_packed_and_told_as_the_pipeline_does() -> None:
    """The untouched transformer between diffusers' own packing and unpacking, with its ids of the tokens."""
    torch.manual_seed(1)
    whole = tiny_flux(TEXT[1])
    packed = FlowDenoiser(PackedFlux(copy.deepcopy(whole), LATENT, TEXT[0]), POOLED, told_guidance=True)
    feed = {name: torch.from_numpy(array) for name, array in inputs("flux", batch=2).items() if name != "tangents"}
    with torch.no_grad():
        v = whole(
            hidden_states=FluxPipeline._pack_latents(feed["sample"], 2, *LATENT),
            timestep=feed["timestep"] / 1000,
            guidance=feed["guidance"],
            encoder_hidden_states=feed["encoder_hidden_states"],
            pooled_projections=feed["text_embeds"],
            txt_ids=torch.zeros(TEXT[0], 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32),
        ).sample
        found = packed(**feed)
    v = FluxPipeline._unpack_latents(v, 8 * LATENT[1], 8 * LATENT[2], vae_scale_factor=8)
    torch.testing.assert_close(found, feed["sample"] + feed["alpha"][:, None, None, None] * v, rtol=0, atol=1e-6)


def test_flux_that_is_not_guidance_distilled_is_told_nothing() -> None:
    """As schnell: there is no such input, and the transformer could not take it."""
    torch.manual_seed(1)
    denoiser = FlowDenoiser(PackedFlux(tiny_flux(TEXT[1], guided=False), LATENT, TEXT[0]), POOLED)
    feed = {name: torch.from_numpy(array) for name, array in inputs("sd3", batch=1).items() if name != "tangents"}
    assert list(denoiser.input_shapes(1, LATENT, TEXT)) == list(feed)
    with torch.no_grad():
        assert denoiser(**feed).isfinite().all()


def inputs(family: str, batch: int) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(batch)
    shapes = tiny_flow_denoiser(family).input_shapes(batch, LATENT, TEXT)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    s = torch.rand(batch, generator=generator)
    drawn |= {"timestep": 1000 * s, "alpha": 1 - s, "sigma": s}
    drawn["tangents"] = torch.randn(TANGENTS, *drawn["sample"].shape, generator=generator)
    return {name: tensor.numpy() for name, tensor in drawn.items()}


def oracle(family: str) -> DenoiserOracle:
    return DenoiserOracle(tiny_flow_denoiser(family), LATENT, TEXT)


def assert_equal(model: ir.Model, case: Case) -> None:
    found = run(model, case.feed)
    for name, expected in case.expected.items():
        assert error(found[name], expected) < LIMIT, name
