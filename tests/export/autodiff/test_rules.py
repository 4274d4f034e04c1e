"""Every derivative rule, in float64, against central differences and against torch's forward mode."""

from itertools import chain, combinations

import numpy as np
import onnx
import pytest
import torch

from memscan.export.autodiff.cut import DOMAIN, STOP, UnmarkCut
from memscan.export.autodiff.rules import RULES
from memscan.export.graphs.trace import OPSET
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.rule_rows import ROWS, ZERO_INPUTS
from tests.export.autodiff.single_node import build, differentiable, draw, evaluate, tangent

K = 3
STEP = 1e-5
DIFFERENCE = {"rtol": 1e-8, "atol": 1e-8}
"""Central differences with step 1e-5 err by 1e-10 f''' and, in float64, by 1e-16 / 1e-5."""
EXACT = {"rtol": 1e-10, "atol": 1e-12}
"""The same formula in float64, in another order."""


def _subsets(row: Row) -> list[tuple[str, ...]]:
    names = differentiable(row)
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


CASES = [pytest.param(row, names, id=f"{row}-{'+'.join(names)}") for row in ROWS for names in _subsets(row)]


@pytest.mark.parametrize(
    ("row", "names"), [case for case in CASES if not case.id.startswith(DOMAIN)]
)  # held operators leave a part of the difference out
def test_rule_equals_central_difference(row: Row, names: tuple[str, ...]) -> None:
    point, directions = draw(row, K)
    model = build(row)
    found = tangent(model, point, {name: directions[name] for name in names})
    for index in range(K):
        ahead = {**point, **{name: point[name] + STEP * directions[name][index] for name in names}}
        behind = {**point, **{name: point[name] - STEP * directions[name][index] for name in names}}
        expected = (evaluate(model, ahead, "y") - evaluate(model, behind, "y")) / (2 * STEP)
        np.testing.assert_allclose(found[index], expected, **DIFFERENCE)


@pytest.mark.parametrize(("row", "names"), CASES)
def test_rule_equals_torch_forward_mode(row: Row, names: tuple[str, ...]) -> None:
    point, directions = draw(row, K)
    found = tangent(build(row), point, {name: directions[name] for name in names})
    primals = tuple(torch.from_numpy(point[name]) for name in differentiable(row))
    for index in range(K):
        tangents = tuple(torch.from_numpy(directions[name][index] * (name in names)) for name in differentiable(row))
        _, expected = torch.func.jvp(row.function, primals, tangents)
        np.testing.assert_allclose(found[index], expected.numpy(), **EXACT)


@pytest.mark.parametrize("row", [row for row in ROWS if row.batch], ids=str)
def test_rule_does_not_need_to_know_the_batch_size(row: Row) -> None:
    point, directions = draw(row, K)
    static, symbolic = (tangent(build(row, symbolic=symbolic), point, directions) for symbolic in (False, True))
    np.testing.assert_array_equal(static, symbolic)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_tangents_do_not_mix(row: Row) -> None:
    point, directions = draw(row, K)
    model = build(row)
    together = tangent(model, point, directions)
    for index in range(K):
        alone = tangent(model, point, {name: value[index : index + 1] for name, value in directions.items()})
        np.testing.assert_allclose(together[index], alone[0], **EXACT)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rule_is_linear_in_the_tangent(row: Row) -> None:
    point, directions = draw(row, 2)
    combined = {name: np.stack([u, v, 2 * u - 3 * v]) for name, (u, v) in directions.items()}
    u_dot, v_dot, combined_dot = tangent(build(row), point, combined)
    np.testing.assert_allclose(combined_dot, 2 * u_dot - 3 * v_dot, **EXACT)


@pytest.mark.parametrize("op", sorted(set(ZERO_INPUTS) - {STOP}))
def test_piecewise_constant_operator_has_no_tangent(op: str) -> None:
    row = Row(op, ZERO_INPUTS[op], torch.clone)
    point, directions = draw(row, K)
    model = build(row)
    ahead = {name: value + STEP * directions[name][0] for name, value in point.items()}
    np.testing.assert_array_equal(evaluate(model, ahead, "y"), evaluate(model, point, "y"))
    found = tangent(model, point, directions)
    np.testing.assert_array_equal(found, np.zeros((K, *evaluate(model, point, "y").shape)))


def test_a_stop_is_an_identity_without_tangent() -> None:
    row = Row(STOP, ZERO_INPUTS[STOP], torch.clone)
    point, directions = draw(row, K)
    np.testing.assert_array_equal(tangent(build(row), point, directions), np.zeros((K, *point["x0"].shape)))
    model = build(row)
    UnmarkCut()(model)
    np.testing.assert_array_equal(evaluate(model, point, "y"), point["x0"])


@pytest.mark.parametrize("op", sorted(set(RULES) - set(ZERO_INPUTS)))
def test_every_attribute_is_left_to_its_default_in_a_row(op: str) -> None:
    rows = [row for row in ROWS if row.op == op]
    for name, attribute in onnx.defs.get_schema(op.removeprefix(f"{DOMAIN}::"), OPSET).attributes.items():
        if name != "stash_type":  # which is no rule's business, and which onnx's evaluator needs in float64
            assert attribute.required or any(name not in row.attributes for row in rows), f"{name} is never left out"


def test_every_rule_has_a_row() -> None:
    assert set(RULES) == {row.op for row in ROWS} | set(ZERO_INPUTS)
