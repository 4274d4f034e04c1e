"""Cuts: every combination of what can be left out, against torch's forward mode with `detach`; where marks go."""

import functools
import itertools

import numpy as np
import onnx_ir as ir
import pytest
import torch
from diffusers import UNet2DConditionModel

from memscan.export.autodiff.cut import CUTS, DOMAIN, Cut, MarkCut, UnmarkCut
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.parity.oracle import Case, DenoiserOracle
from memscan.scanner.settings import DERIVATIVES, Derivative
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.rule_rows import ROWS
from tests.export.autodiff.single_node import build
from tests.export.graph_run import error, run
from tests.export.graphs.families import FAMILIES, tiny_denoiser
from tests.export.graphs.families import LATENT as FAMILY_LATENT
from tests.export.graphs.families import TEXT as FAMILY_TEXT
from tests.export.graphs.families import traced as traced_family

LATENT, TEXT, TANGENTS = (4, 12, 8), (5, 12), 2
LIMIT = 1e-5
"""Relative, in the norm, as for the exact derivative: float32 in two orders of summation gives 1e-6."""

ALL = list(itertools.starmap(Cut, itertools.product((None, 1, 2), (True, False), (False, True), (False, True))))


@functools.cache
def denoiser() -> EpsDenoiser:
    """Three levels of uneven depth, with attention at the two highest resolutions, the second of two blocks each."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=12,
        block_out_channels=(8, 16, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=(1, 2, 1),
        transformer_layers_per_block=(1, 2, 1),
        cross_attention_dim=TEXT[1],
        attention_head_dim=(2, 4, 4),
        norm_num_groups=4,
    )
    for parameter in unet.parameters():  # diffusers begins with scales of one and shifts of zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return EpsDenoiser(unet.eval().requires_grad_(False), "epsilon")


@functools.cache
def traced() -> ir.Model:
    return trace_denoiser(denoiser(), LATENT, TEXT)


@functools.cache
def case(cut: Cut) -> Case:
    traced()  # first, with the attention that a checkpoint has
    return DenoiserOracle(denoiser(), LATENT, TEXT).measure(TANGENTS, cut)


@pytest.mark.parametrize("cut", ALL, ids=str)
def test_every_cut_equals_torch_with_detached_paths(cut: Cut) -> None:
    model = measure_graph(traced(), TANGENTS, cut)
    assert_equal(model, case(cut))
    assert {node.domain for node in model.graph} <= {"", "memscan"}
    assert DOMAIN not in model.graph.opset_imports


@pytest.mark.parametrize("kind", DERIVATIVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_equals_torch_with_detached_paths(family: str, kind: Derivative) -> None:
    model = measure_graph(traced_family(family), TANGENTS, CUTS[kind])
    assert_equal(model, DenoiserOracle(tiny_denoiser(family), FAMILY_LATENT, FAMILY_TEXT).measure(TANGENTS, CUTS[kind]))


def test_what_a_cut_leaves_out_is_there_to_be_left_out() -> None:
    """Else the comparison with torch could not fail: cuts differ, but for weights where no transformer is left."""
    for cut, other in itertools.combinations(ALL, 2):
        same = (cut.levels, cut.hold_statistics) == (other.levels, other.hold_statistics)
        expected = same and not cut.transformers and not other.transformers
        difference = error(case(cut).expected["v_dot_jv"], case(other).expected["v_dot_jv"])
        assert (difference < LIMIT) == expected, f"{cut} {other}: {difference:.1e}"


@pytest.mark.parametrize("kind", DERIVATIVES)
def test_one_tangent_at_a_time_gives_what_all_give_together(kind: Derivative) -> None:
    feed = dict(case(CUTS[kind]).feed)
    together = run(measure_graph(traced(), TANGENTS, CUTS[kind]), feed)
    one = measure_graph(traced(), 1, CUTS[kind])
    apart = [run(one, {**feed, "tangents": feed["tangents"][k : k + 1]})["v_dot_jv"] for k in range(TANGENTS)]
    assert error(sum(apart, np.zeros(1)), together["v_dot_jv"]) < LIMIT


def test_the_exact_derivative_is_that_of_the_unmarked_graph_bit_by_bit() -> None:
    marked = traced().clone()
    assert not MarkCut(CUTS["exact"])(marked).modified
    assert ir.to_proto(marked).SerializeToString() == ir.to_proto(traced()).SerializeToString()


@pytest.mark.parametrize("cut", [cut for cut in ALL if cut != Cut()], ids=str)
def test_marks_vanish_without_a_trace(cut: Cut) -> None:
    marked = traced().clone()
    assert MarkCut(cut)(marked).modified
    assert UnmarkCut()(marked).modified
    assert ir.to_proto(marked).SerializeToString() == ir.to_proto(traced()).SerializeToString()


@pytest.mark.parametrize("row", [row for row in ROWS if row.op in ("Exp", "MatMul", "Attention")], ids=str)
def test_a_graph_without_what_is_cut_is_left_alone(row: Row) -> None:
    model = build(row)
    assert not MarkCut(Cut(levels=1, transformers=False, hold_statistics=True), "x0")(model).modified


def test_a_cut_above_the_first_level_is_refused() -> None:
    with pytest.raises(ValueError, match="levels is 0: tangents need at least the first"):
        Cut(levels=0)


@pytest.mark.parametrize(("attention", "carrying"), [((0, 0), 0), ((0, 0.5), 2), ((0.5, 1), 3), ((0, 1), 5)])
def test_attention_carries_tangents_in_a_part_of_the_depth(attention: tuple[float, float], carrying: int) -> None:
    marked = five_attentions()
    MarkCut(Cut(attention=attention))(marked)
    found = [not any(is_stop(value) for value in node.inputs) for node in marked.graph if node.op_type == "Attention"]
    assert sum(found) == carrying
    assert found == sorted(found, reverse=attention[0] == 0)


@pytest.mark.parametrize("attention", [(-0.5, 1), (0.6, 0.5), (0, 1.5)])
def test_attention_is_a_part_of_the_depth(attention: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="from a share of the depth to a later one"):
        Cut(attention=attention)


def five_attentions() -> ir.Model:
    """x [2, 3, 4, 8] through five attentions over itself."""
    x = ir.Value(name="sample", shape=ir.Shape([2, 3, 4, 8]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = []
    y = x
    for index in range(5):
        nodes.append(ir.node("Attention", [y, y, y], name=f"attention_{index}"))
        y = nodes[-1].outputs[0]
        y.name, y.shape, y.type = f"y_{index}", x.shape, x.type
    return ir.Model(ir.Graph([x], [y], nodes=nodes, opset_imports={"": 23}), ir_version=10)


def is_stop(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.domain == DOMAIN


def test_there_is_a_cut_for_every_kind() -> None:
    assert set(CUTS) == set(DERIVATIVES)


def assert_equal(model: ir.Model, truth: Case) -> None:
    found = run(model, truth.feed)
    for name, expected in truth.expected.items():
        assert error(found[name], expected) < LIMIT, name
