"""Which plan serves which wish."""

import dataclasses

import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.runtimes.tensorrt.key import PlanKey, graph_digest, plan_graphs
from tests.analytic_bundle import write_analytic_bundle

KEY = PlanKey("tensorrt", "10.13.3", "NVIDIA H200", ("9.0",), 8, "a" * 64)
AHEAD = PlanKey("tensorrt-rtx", "1.7.1", None, ("8.6", "8.9"), 8, "a" * 64)


def test_a_key_survives_json() -> None:
    assert PlanKey.from_json(AHEAD.to_json()) == AHEAD


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "tensorrt-rtx"},
        {"version": "10.14.1"},
        {"gpu": "NVIDIA A100"},
        {"compute_capabilities": ("8.0",)},
        {"graph": "b" * 64},
        {"recipe": KEY.recipe + 1},
        {"batch_size": 9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_counts(change: dict[str, object]) -> None:
    wish = dataclasses.replace(KEY, **change)
    assert KEY.serves(KEY)
    assert not KEY.serves(wish)
    assert wish.digest() != KEY.digest()


def test_a_plan_for_larger_batches_and_more_devices_serves() -> None:
    assert AHEAD.serves(dataclasses.replace(AHEAD, batch_size=3, compute_capabilities=("8.9",)))
    assert not AHEAD.serves(dataclasses.replace(AHEAD, compute_capabilities=("8.9", "12.0")))


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return write_analytic_bundle(tmp_path / "analytic")


def test_a_graphs_digest_covers_its_file_and_the_weights_beside_it(bundle: Bundle) -> None:
    files = {"measure.onnx": "1", "step.onnx": "2", "weights.bin": "3", "baseline/measure.onnx": "1"}

    def digest(**changed: str) -> str:
        return graph_digest(dataclasses.replace(bundle, files=files | changed), "measure.onnx")

    before = digest()
    assert digest(**{"step.onnx": "x"}) == before
    assert digest(**{"baseline/weights.bin": "x"}) == before
    assert digest(**{"measure.onnx": "x"}) != before
    assert digest(**{"weights.bin": "x"}) != before


def test_graphs_written_for_onnx_runtime_have_no_plans(bundle: Bundle) -> None:
    names = plan_graphs(open_bundle(bundle.path), "exact")
    assert names == [
        "baseline/measure.onnx",
        "measure.onnx",
        "step.onnx",
        "text_encoder.onnx",
        "vae_decoder.onnx",
        "vae_encoder.onnx",
    ]
    shallow = ["baseline/measure.shallow.onnx", "measure.shallow.onnx"]
    assert plan_graphs(bundle, "shallow") == sorted([*shallow, *names[2:]])
    sliced = dataclasses.replace(bundle, files=bundle.files | {"measure.sliced.onnx": "1"})
    assert plan_graphs(sliced, "exact") == names
    alone = dataclasses.replace(bundle, graphs={**bundle.graphs, "unguided.onnx": {}})
    assert plan_graphs(alone, "exact") == sorted([*names, "unguided.onnx"])
