"""How derivative rules are declared: a dictionary from operator to rule, filled by kind of operator.

Most operators are declared operand by operand. A term `term(tape, node, x_dot)` is the linear function of one operand's
tangent, (dy/dx) x_dot, with the other operands as they are; the rule made of an operator's terms adds up those of the
operands that carry a tangent, and refuses a tangent of an operand that has no term.

A rule is `rule(tape, node, *x_dots)`. `x_dots[i]` is the tangent of `node.inputs[i]`, `[K, *x.shape]`, or None where
that input has none (a symbolic zero: no rule is ever called with Nones only). It emits nodes on the tape and returns
the tangent of each output, `[K, *y.shape]` or smaller by broadcasting (the driver repairs that), or None.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import onnx_ir as ir

from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import describe, operand, shape_of
from memscan.scanner.errors import ExportError


class MissingRule(ExportError):
    """An operator between the input and the output has no derivative rule, or not for this form of it."""


class Rule(Protocol):
    """A forward derivative rule; see the module's docstring."""

    def __call__(
        self, tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None
    ) -> "ir.Value | tuple[ir.Value | None, ...] | None": ...


Term = Callable[[Tape, ir.Node, ir.Value], ir.Value]
"""`term(tape, node, x_dot)`: what the tangent of one operand contributes to that of the output."""


class RuleTable(dict[str, Rule]):
    """Rules by operator as `operator_of` names it."""

    def rule(self, *op_types: str) -> Callable[[Rule], Rule]:
        """Declare a rule that is no sum over operands, written out, as a decorator."""

        def declare(rule: Rule) -> Rule:
            self.update(dict.fromkeys(op_types, rule))
            return rule

        return declare

    def zero(self, *op_types: str) -> None:
        """Declare operators that are constant almost everywhere."""
        self.update(dict.fromkeys(op_types, _no_tangent))

    def terms(self, op_type: str, *terms: Term) -> None:
        """Declare an operator by one term for each of its first operands; further ones may carry no tangent."""

        def rule(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
            known = first_tangents(node, x_dots, len(terms))
            return tape.add(
                *(term(tape, node, x_dot) for term, x_dot in zip(terms, known, strict=True) if x_dot is not None)
            )

        self[op_type] = rule

    def broadcast(self, op_type: str, *terms: Term) -> None:
        """Declare an operator whose operands broadcast: terms are given tangents of `1 + rank of y` axes, K first."""

        def aligned(term: Term) -> Term:
            return lambda tape, node, x_dot: term(tape, node, tape.align(x_dot, len(shape_of(node.outputs[0]))))

        self.terms(op_type, *map(aligned, terms))

    def first_operand(self, *op_types: str) -> Callable[[Term], Term]:
        """Declare operators that are differentiable in their first operand alone, by its term, as a decorator."""

        def declare(term: Term) -> Term:
            for op_type in op_types:
                self.terms(op_type, term)
            return term

        return declare

    def elementwise(self, op_type: str, derivative: Callable[[Tape, ir.Value, ir.Value], ir.Value]) -> None:
        """Declare y = f(x), elementwise, by `derivative(tape, x, y)` = f'(x), which has the shape of x."""
        self.terms(
            op_type,
            lambda tape, node, x_dot: tape.scale(x_dot, derivative(tape, operand(node, 0), node.outputs[0])),
        )


def operator_of(node: ir.Node) -> str:
    """A node's operator: its type, behind its domain and "::" where that is not the default one."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def first_tangents(node: ir.Node, x_dots: tuple[ir.Value | None, ...], count: int) -> tuple[ir.Value | None, ...]:
    """The tangents of the first `count` inputs, None where there is no such input.

    Raises:
        MissingRule: another input carries a tangent.
    """
    for index, x_dot in enumerate(x_dots[count:], start=count):
        if x_dot is not None:
            raise MissingRule(
                f"no derivative rule for {describe(node)} with respect to its input {operand(node, index).name!r}"
            )
    return (*x_dots, *[None] * count)[:count]


def constant_ints(node: ir.Node, index: int) -> list[int] | None:
    """The integers of a constant input such as axes, or None where the input is absent.

    Raises:
        MissingRule: the input is computed at run time.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    if value.const_value is None:
        raise MissingRule(f"the derivative of {describe(node)} needs a constant input {value.name!r}")
    return [int(entry) for entry in np.ravel(value.const_value.numpy())]


def _no_tangent(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> None:
    return None
