"""How derivative rules are declared: a dictionary from operator to rule, filled by kind of operator.

A rule is `rule(tape, node, *x_dots)`. `x_dots[i]` is the tangent of `node.inputs[i]`, `[K, *x.shape]`, or None where
that input has none (a symbolic zero: no rule is ever called with Nones only). It emits nodes on the tape and returns
the tangent of each output, `[K, *y.shape]` or smaller by broadcasting (the driver repairs that), or None.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import onnx_ir as ir

from memscan.export.autodiff.shapes import describe, operand
from memscan.export.autodiff.tape import Tape
from memscan.scanner.errors import ExportError


class MissingRule(ExportError):
    """An operator between the input and the output has no derivative rule, or not for this form of it."""


class Rule(Protocol):
    """A forward derivative rule; see the module's docstring."""

    def __call__(
        self, tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None
    ) -> "ir.Value | tuple[ir.Value | None, ...] | None": ...


class RuleTable(dict[str, Rule]):
    """Rules by operator type of the default domain."""

    def rule(self, *op_types: str) -> Callable[[Rule], Rule]:
        """Declare a rule written out, as a decorator."""

        def declare(rule: Rule) -> Rule:
            self.update(dict.fromkeys(op_types, rule))
            return rule

        return declare

    def zero(self, *op_types: str) -> None:
        """Declare operators that are constant almost everywhere."""
        self.update(dict.fromkeys(op_types, _no_tangent))

    def elementwise(self, op_type: str, derivative: Callable[[Tape, ir.Value, ir.Value], ir.Value]) -> None:
        """Declare y = f(x), elementwise, by `derivative(tape, x, y)` = f'(x), which has the shape of x."""

        def rule(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
            x, y = operand(node, 0), node.outputs[0]
            return tape.scale(tangent(x_dots[0]), derivative(tape, x, y))

        self[op_type] = rule


def tangent(x_dot: ir.Value | None) -> ir.Value:
    """Narrow the tangent of an operator's only differentiable input."""
    assert x_dot is not None, "a rule was called although no input carries a tangent"
    return x_dot


def only_first(node: ir.Node, x_dots: tuple[ir.Value | None, ...]) -> ir.Value:
    """The tangent of input 0, for rules that know no other.

    Raises:
        MissingRule: another input carries a tangent.
    """
    for index, x_dot in enumerate(x_dots[1:], start=1):
        if x_dot is not None:
            raise MissingRule(
                f"no derivative rule for {describe(node)} with respect to its input {operand(node, index).name!r}"
            )
    return tangent(x_dots[0])


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
