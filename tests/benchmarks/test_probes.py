"""Estimates of a diagonal on matrices whose diagonal is known, and what is made of them on maps that are."""

import itertools

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.probes.colourings import HOUSE, LATENT, TABLE, random_table, span, subspaces, table
from benchmarks.probes.deflation import deflated
from benchmarks.probes.estimates import blurred, coefficients, combined, hutchinson
from benchmarks.probes.judge import Truth, judge
from benchmarks.probes.products import product_graph
from benchmarks.probes.study import replicates
from memscan.scanner.metrics.probes import hadamard_counts, make_probes
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.settings import Probes

Array = NDArray[np.float64]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
"""float64: both sides are the same sums in another order."""
SIGMAS = 4.5
"""Standard errors by which 16 means may differ from the truth: one in 10,000 draws of the seed would fail."""


def _matrix(size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(size, size))


def _signs(count: int, size: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).choice([-1.0, 1.0], (count, size))


def _left_out_by_hand(a: Array, probes: Array) -> Array:
    """The formula of the module's docstring with a basis that is made anew for every probe."""
    found = []
    for i, omega in enumerate(probes):
        q, _ = np.linalg.qr(a @ np.delete(probes, i, axis=0).T)
        inside = q @ q.T
        found.append(np.diag(a @ inside) + omega * (a @ (np.eye(len(a)) - inside) @ omega))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_leaving_out_by_the_closed_form_is_leaving_out_by_hand(count: int) -> None:
    a, probes = _matrix(12), _signs(count, 12)
    np.testing.assert_allclose(deflated(lambda v: v @ a.T, probes), _left_out_by_hand(a, probes), **CLOSE)


def test_deflation_by_one_probe_is_the_plain_estimate() -> None:
    a, probes = _matrix(12), _signs(1, 12)
    np.testing.assert_allclose(deflated(lambda v: v @ a.T, probes), probes[0] * (a @ probes[0]), **CLOSE)


def test_deflation_is_exact_where_a_symmetric_matrix_has_fewer_directions_than_probes() -> None:
    basis = _matrix(12)[:, :3]
    a = basis @ np.diag([1.0, -2.0, 0.5]) @ basis.T
    y = a @ _signs(4, 12).T
    assert np.linalg.matrix_rank(y) == 3  # so 4 products are no basis; 3 probes leave 2 for each
    a += 1e-6 * np.diag(np.arange(12.0))  # a diagonal is estimated without error, and makes them independent
    found = deflated(lambda v: v @ a.T, _signs(4, 12))
    np.testing.assert_allclose(
        found, np.diag(a), atol=1e-4
    )  # 1e-6 of what the projection turns out of place, amplified


def test_deflation_refuses_products_that_are_no_basis() -> None:
    a = np.outer(np.arange(1.0, 13), np.ones(12))
    with pytest.raises(ValueError, match="the products of 3 probes are not linearly independent"):
        deflated(lambda v: v @ a.T, _signs(3, 12))


def test_deflation_takes_twice_as_many_products_as_probes() -> None:
    a, asked = _matrix(12), []

    def product(v: Array) -> Array:
        asked.append(len(v))
        return v @ a.T

    deflated(product, _signs(5, 12))
    assert asked == [5, 5]


def test_deflation_is_unbiased_for_a_matrix_that_is_not_symmetric() -> None:
    a = _matrix(16)
    found = np.array([deflated(lambda v: v @ a.T, _signs(3, 16, seed)) for seed in range(600)])
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - np.diag(a)) < SIGMAS * errors).all()


def test_the_plain_estimate_over_all_signs_is_the_diagonal() -> None:
    a = _matrix(6)
    probes = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    np.testing.assert_allclose(hutchinson(probes * (probes @ a.T), range(64)), np.diag(a), **CLOSE)


@pytest.mark.parametrize("count", hadamard_counts(LATENT[0]))
def test_the_probes_of_a_scan_are_rows_of_the_table(count: int) -> None:
    expected = make_probes(Probes("hadamard", count, seed=5), LATENT).reshape(count, -1)
    found = table(5)[list(span(HOUSE[count]))]
    assert {row.tobytes() for row in found} == {row.tobytes() for row in expected}


def test_random_tables_begin_with_the_random_probes_of_a_scan_s_seed() -> None:
    np.testing.assert_array_equal(random_table(5), make_probes(Probes("rademacher", TABLE, 5), LATENT).reshape(64, -1))


@pytest.mark.parametrize("count", HOUSE)
def test_every_repetition_of_a_colouring_cancels_between_its_colours(count: int) -> None:
    """Coordinates meet in all of the K rows or in half of them, in every repetition alike."""
    found = replicates(span(HOUSE[count]))
    assert sorted(row for rows in found for row in rows) == list(range(TABLE))
    coloured = [np.abs(table(0)[list(rows)][:, :64].T @ table(0)[list(rows)][:, :64]) for rows in found]
    assert set(np.unique(coloured[0])) <= {0.0, float(count)}
    for other in coloured[1:]:
        np.testing.assert_array_equal(other, coloured[0])


@pytest.mark.parametrize(("dimension", "expected"), [(0, 1), (1, 63), (2, 651)])
def test_all_colourings_of_a_size_are_there_once(dimension: int, expected: int) -> None:
    """Gaussian binomial coefficients: 63 lines and 63 * 62 / (3 * 2) planes in six dimensions over two elements."""
    found = list(subspaces(dimension))
    assert len(found) == len(set(found)) == expected
    assert all(len(rows) == 2**dimension and 0 in rows for rows in found)


def test_coefficients_of_an_exact_combination_are_found() -> None:
    estimates = np.random.default_rng(0).normal(size=(3, 5, 4, 4))
    weights = np.array([1.0, -0.25, 2.0])
    np.testing.assert_allclose(coefficients(estimates, combined(estimates, weights)), weights, **CLOSE)


def test_the_coefficient_of_a_control_variate_is_covariance_over_variance() -> None:
    rng = np.random.default_rng(0)
    error, noise = rng.normal(size=(2, 20, 4, 4))
    truth = rng.normal(size=(20, 4, 4))
    found = coefficients(np.stack([error]), (truth + 0.5 * error + noise) - truth)
    expected = 0.5 + (noise * error).sum() / np.square(error).sum()
    np.testing.assert_allclose(found, [expected], **CLOSE)


def test_smoothing_keeps_what_is_even_and_spreads_what_is_not() -> None:
    np.testing.assert_allclose(blurred(np.ones((2, 5, 6)), 0.7), 1, **CLOSE)
    point = np.zeros((1, 15, 15))
    point[0, 7, 7] = 1
    found = blurred(point, 1.0)[0]
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, found.T, **CLOSE)
    assert found[7, 8] / found[7, 7] == pytest.approx(np.exp(-0.5))


def _truth() -> Truth:
    covers = np.zeros((6, 4, 4))
    covers[:4, :2] = 1
    return Truth(covers, np.array([False, True, False, True, False, True]), np.array(["local"] * 4 + ["none"] * 2))


def test_the_reference_itself_has_no_error_and_the_iou_of_its_best_mask() -> None:
    truth = _truth()
    found = judge([truth.covers.astype(np.float32)] * 2, truth.covers, truth)
    assert (found.error, found.rest, found.iou, found.spread, found.everywhere, found.auc) == (0, 0, 1, 0, 1, 1)
    assert found.less(found) == (0, (0, 0))


def test_a_factor_is_an_error_but_no_rest_and_costs_no_iou() -> None:
    truth = _truth()
    found = judge([np.float32(0.5) * truth.covers.astype(np.float32)], truth.covers, truth)
    assert (found.error, found.rest, found.iou) == (0.5, 0, 1)


def test_the_threshold_comes_from_the_calibration_captions() -> None:
    """Held-out maps are half as high: the threshold of the others, half-way to their zeros, is just reached."""
    truth = _truth()
    maps = truth.covers.astype(np.float32)
    maps[truth.held_out] *= 0.25
    assert judge([maps], truth.covers, truth).iou == 0


def _measuring(total: str) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
              (("sample", [1, 3]), ("tangents", [2, 1, 3]), ("eps", [1, 3]), ("v_dot_jv", [1, 3]))]  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["sample", "sample"], ["eps"]),
        helper.make_node("Add", ["sample", "sample"], ["slope"]),
        helper.make_node("Mul", ["slope", "tangents"], ["eps_dot"]),
        helper.make_node("Mul", ["tangents", "eps_dot"], ["weighted"]),
        helper.make_node(total, ["weighted", "axes"], ["v_dot_jv"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    graph = helper.make_graph(nodes, "measure", values[:2], values[2:], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_product_graph_gives_the_products_whose_sum_it_gave() -> None:
    """eps = x^2: J v = 2 x v."""
    session = onnxruntime.InferenceSession(
        product_graph(_measuring("ReduceSum")).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    sample = np.array([[1, 2, 3]], np.float32)
    tangents = np.array([[[1, -1, 1]], [[-1, 1, 1]]], np.float32)
    eps, summed, products = session.run(None, {"sample": sample, "tangents": tangents})
    np.testing.assert_array_equal(products, 2 * sample * tangents)
    np.testing.assert_array_equal(summed, (tangents * products).sum(axis=0))
    np.testing.assert_array_equal(eps, sample**2)


def test_a_graph_without_that_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="v_dot_jv is made by ReduceMax, expected the sum of tangents times products"):
        product_graph(_measuring("ReduceMax"))
