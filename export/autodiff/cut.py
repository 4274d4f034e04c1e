"""Which paths of a denoiser carry tangents: a choice made before differentiation, marked in the primal graph.

A derivative that leaves out the paths that matter little costs a fraction of the exact one. `MarkCut` puts a Stop, an
identity without tangent, where tangents end, and turns normalizations into held ones, whose statistics have none; both
belong to a domain of their own, for which there are rules. `UnmarkCut` takes the marks away again once the tangents are
there. Places are told by operators and shapes, never by names; a graph may have none of what a cut leaves out.
"""

import dataclasses
import math

import onnx_ir as ir

from memscan.export.nodes.conditions import require_shapes
from memscan.export.nodes.shapes import describe, operand, shape_of, static_dims
from memscan.scanner.settings import Derivative

DOMAIN = "memscan.cut"
STOP = f"{DOMAIN}::Stop"
NORMALIZATIONS = ("GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization")

_RESAMPLING = ("AveragePool", "Conv", "MaxPool", "Resize")
_QUERY, _KEY, _VALUE = 0, 1, 2
"""Inputs of Attention; its weights are made of the first two."""


def held(op_type: str) -> str:
    """The operator that is a normalization with constant statistics."""
    return f"{DOMAIN}::{op_type}"


@dataclasses.dataclass(frozen=True)
class Cut:
    """What has no tangent.

    Args:
        levels: tangents end at the `levels`-th downsampling: 1 leaves full latent resolution alone; None cuts nothing.
        transformers: whether transformer blocks carry tangents; without, only what goes past them does.
        hold_weights: attention weights are constant, y_dot = P v_dot.
        hold_statistics: mean and deviation of every normalization are constant.
        attention: the part of the depth, from and to, in which attention carries tangents, as shares of the attention
            operators in their order. Where it carries none, a position's tangents stay at that position.

    Raises:
        ValueError: `levels` is less than 1, or `attention` no part of the depth.
    """

    levels: int | None = None
    transformers: bool = True
    hold_weights: bool = False
    hold_statistics: bool = False
    attention: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"levels is {self.levels}: tangents need at least the first")
        if not 0 <= self.attention[0] <= self.attention[1] <= 1:
            raise ValueError(f"attention is {self.attention}: it goes from a share of the depth to a later one")


CUTS: dict[Derivative, Cut] = {
    "exact": Cut(),
    "frozen": Cut(hold_weights=True, hold_statistics=True),
    "shallow": Cut(levels=1, transformers=False, hold_statistics=True),
}
"""The kinds of derivative that a bundle of a UNet has."""

TRANSFORMER_CUTS: dict[Derivative, Cut] = {**CUTS, "shallow": Cut(attention=(0, 0))}
"""Those of a transformer without downsampling: shallow is what stays at a token's own place. Its norms' statistics are
over the channels of one token, and so stay there too."""


class MarkCut(ir.passes.InPlacePass):
    """Mark where tangents end. Values stay what they are for whoever knows the marks' meaning.

    Requires: every value has a shape, static but for the batch.
    Ensures: nothing.

    Args:
        cut: what shall have no tangent.
        sample: the input whose resolution is the full one.
    """

    def __init__(self, cut: Cut, sample: str = "sample") -> None:
        super().__init__()
        self._cut = cut
        self._sample = sample

    def requires(self, model: ir.Model) -> None:
        require_shapes(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        cut, graph = self._cut, model.graph
        stops: list[tuple[ir.Node, int]] = []
        if cut.levels is not None:
            stops += [(node, 0) for node in _downsamplings(graph, self._sample, cut.levels)]
        if not cut.transformers:
            stops += [(node, 0) for node in _of(graph, "Flatten", "Reshape") if _makes_tokens(node)]
        attention = _of(graph, "Attention")
        carrying = attention[slice(*(round(share * len(attention)) for share in cut.attention))]
        for node in attention:
            held_inputs = (_QUERY, _KEY) if cut.hold_weights else ()
            stops += [(node, index) for index in (held_inputs if node in carrying else (_QUERY, _KEY, _VALUE))]
        norms = _of(graph, *NORMALIZATIONS) if cut.hold_statistics else []
        for node, index in stops:
            _stop(graph, node, index)
        for node in norms:
            node.domain = DOMAIN
        modified = bool(stops or norms)
        if modified:
            graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified)


class UnmarkCut(ir.passes.InPlacePass):
    """Take all marks away.

    Requires: nothing.
    Ensures: no node, and no import, of the marks' domain is left.
    """

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if node.domain == DOMAIN:
                raise ir.passes.PostconditionError(f"{describe(node)} is left")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        marks = [node for node in graph if node.domain == DOMAIN]
        for node in marks:
            if node.op_type in NORMALIZATIONS:
                node.domain = ""
            else:
                node.outputs[0].replace_all_uses_with(operand(node, 0))
                graph.remove(node, safe=True)
        graph.opset_imports.pop(DOMAIN, None)
        return ir.passes.PassResult(model, modified=bool(marks))


def _of(graph: ir.Graph, *op_types: str) -> list[ir.Node]:
    """The nodes of some operators of the default domain."""
    return [node for node in graph if not node.domain and node.op_type in op_types]


def _downsamplings(graph: ir.Graph, sample: str, level: int) -> list[ir.Node]:
    """The nodes that lead from the levels before `level` to it or below; level 0 is the sample's."""
    sizes = [_area(value) for value in graph.inputs if value.name == sample]
    shrinking = [node for node in _of(graph, *_RESAMPLING) if _shrinks(node)]
    for node in shrinking:
        if _area(node.outputs[0]) < sizes[-1]:
            sizes.append(_area(node.outputs[0]))
    return [node for node in shrinking if len(sizes) > level and _area(node.outputs[0]) <= sizes[level]]


def _shrinks(node: ir.Node) -> bool:
    x, y = operand(node, 0), node.outputs[0]
    return len(shape_of(x)) == 4 and _area(y) < _area(x)


def _area(image: ir.Value) -> int:
    return math.prod(static_dims(image, 2))


def _makes_tokens(node: ir.Node) -> bool:
    """Whether a node gives an image's positions one axis. Heads that become one do so too, in the same blocks."""
    return len(shape_of(operand(node, 0))) == 4 and len(shape_of(node.outputs[0])) == 3


def _stop(graph: ir.Graph, node: ir.Node, index: int) -> None:
    x = operand(node, index)
    stop = ir.node("Stop", [x], domain=DOMAIN, name=f"{node.name or node.outputs[0].name}/stop_{index}")
    stop.outputs[0].name, stop.outputs[0].shape, stop.outputs[0].type = stop.name, x.shape, x.type
    graph.insert_before(node, stop)
    node.replace_input_with(index, stop.outputs[0])
