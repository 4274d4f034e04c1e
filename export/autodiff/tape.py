"""The tape that a rule writes on: an emitter that knows the tangents' leading axis K.

Its moves are `fold` and `unfold` (K into the batch and back), `align` (equal rank with the primal), `like` (broadcast
to `(K, *y.shape)`) and `zeros`. It spares K-fold work where algebra allows: factors without K are gathered before they
meet a tangent, (t a) b = t (a b) and t a + t b = t (a + b), which turns e.g. a normalization's scale and the derivative
of the SiLU behind it into a single product; and a + (-b) = a - b is one node.
"""

import onnx_ir as ir

from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import shape_of


class Tape(Emitter):
    """Emits the nodes of one differentiation, rule by rule.

    Args:
        graph: the graph that will hold the nodes; it has an import of the default domain.
        num_tangents: K.
    """

    def __init__(self, graph: ir.Graph, num_tangents: int) -> None:
        super().__init__(graph)
        self.num_tangents = num_tangents
        self.superseded: dict[ir.Value, ir.Value] = {}
        self._factors: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def supersede(self, old: ir.Value, new: ir.Value) -> None:
        """Let `new`, an equal value, take the place of the primal value `old` everywhere."""
        self.superseded[old] = new

    def scale(self, t: ir.Value, factor: ir.Value) -> ir.Value:
        """`t * factor` for a tangent `t` and a `factor` that has no axis K; factors of factors are gathered."""
        if t in self._factors:
            t, earlier = self._factors[t]
            factor = self.op("Mul", earlier, factor)
        product = self.op("Mul", t, factor)
        self._factors[product] = (t, factor)
        return product

    def add(self, *terms: ir.Value) -> ir.Value:
        """The sum of one or more tangents; multiples of the same tangent have their factors summed."""
        total, *rest = terms
        for term in rest:
            t, factor = self._factors.get(total, (None, None))
            other, other_factor = self._factors.get(term, (None, None))
            if t is not None and t is other:
                total = self.scale(t, self.op("Add", factor, other_factor))
            elif (negated := _negated(term)) is not None:
                total = self.op("Sub", total, negated)
            else:
                total = self.op("Add", total, term)
        return total

    def fold(self, x_dot: ir.Value) -> ir.Value:
        """`[K, N, ...]` -> `[K*N, ...]`, for operators that know one batch axis only."""
        _, batch, *rest = shape_of(x_dot)
        folded = self.num_tangents * batch if isinstance(batch, int) else ir.SymbolicDim(f"{self.num_tangents}*{batch}")
        return self.reshape(x_dot, folded, *rest)

    def unfold(self, folded: ir.Value, y: ir.Value) -> ir.Value:
        """`[K*N, ...]` -> `(K, *y.shape)`."""
        return self.reshape(folded, self.num_tangents, *shape_of(y))

    def align(self, x_dot: ir.Value, rank: int) -> ir.Value:
        """Insert axes behind K so that `x_dot` broadcasts against primal values of rank `rank` from the right."""
        missing = rank + 1 - len(shape_of(x_dot))
        return self.op("Unsqueeze", x_dot, self.ints(*range(1, 1 + missing))) if missing > 0 else x_dot

    def like(self, x_dot: ir.Value, y: ir.Value) -> ir.Value:
        """Broadcast `x_dot` to `(K, *y.shape)`; nothing is emitted where it has that shape already."""
        dims = (self.num_tangents, *shape_of(y))
        if shape_of(x_dot) == dims:
            return x_dot
        if all(isinstance(dim, int) for dim in dims):
            target = self.ints(*(dim for dim in dims if isinstance(dim, int)))
        else:
            target = self.op("Concat", self.ints(self.num_tangents), self.op("Shape", y), axis=0)
        return self.op("Expand", self.align(x_dot, len(dims) - 1), target, shape=dims)

    def zeros(self, y: ir.Value) -> ir.Value:
        """A zero tangent of `y`, written out: `(K, *y.shape)`."""
        return self.like(self.op("Unsqueeze", self.scalar(0, y), self.ints(0)), y)


def _negated(x: ir.Value) -> ir.Value | None:
    """The value whose negative `x` is."""
    producer = x.producer()
    return producer.inputs[0] if producer is not None and producer.op_type == "Neg" else None
