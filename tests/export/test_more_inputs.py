"""Members of the families whose denoisers take more than latents and text, each exported whole and scanned.

Graphs and derivatives are held against torch, the image against the pipeline of diffusers that is the member's own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from memscan.export import assemble
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.parity.asking import encoded, example_pictures
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.bundle_parts import AestheticScores, Channels, Takes
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.export.whole import export_whole, scan
from tests.more_inputs import save_member

TAKES = {
    "lcm": Takes(guidance=True),
    "inpainting": Takes(channels=Channels("inpainting", 5)),
    "depth": Takes(channels=Channels("depth", 1)),
    "edit": Takes(channels=Channels("edit", 4, 1 / 0.7)),
    "projected": Takes(),
    "xl-inpainting": Takes(channels=Channels("inpainting", 5)),
    "refiner": Takes(aesthetic_scores=AestheticScores(6.0, 2.5)),
}


@pytest.fixture(scope="module")
def components() -> Iterator[None]:
    """Text encoders and VAEs are the same in most members: each is traced once."""
    traced: dict[Any, ir.Model] = {}
    trace = assemble.trace_component

    def once(module: torch.nn.Module, example: dict[str, torch.Tensor]) -> ir.Model:
        weights = sum(parameter.double().sum().item() for parameter in module.parameters())
        key = str(module), weights, str({name: value.shape for name, value in example.items()})
        if key not in traced:
            traced[key] = trace(module, example)
        return traced[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "trace_component", once)
        yield


Member = Callable[[str], Bundle]


@pytest.fixture(scope="module")
def member(components: None, tmp_path_factory: pytest.TempPathFactory) -> Member:
    """The exported bundle of a name of `MEMBERS`, made once."""
    made: dict[str, Bundle] = {}

    def export(name: str) -> Bundle:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            export_whole(find_checkpoint(str(save_member(folder / name, name))), folder / "bundle")
            made[name] = open_bundle(folder / "bundle")
        return made[name]

    return export


def test_an_inpainting_model_is_exported_and_scanned(member: Member, tmp_path: Path) -> None:
    """The second row is text-to-image, all masked; the third, a picture without its mask, is an error row."""
    bundle = member("inpainting")
    assert bundle.takes == TAKES["inpainting"]
    assert bundle.latent_shape == (4, 8, 8)
    pictures = encoded(example_pictures("inpainting", (48, 32)))
    table = pa.table(
        {
            "prompt": ["a cat", "a cat", "a cat"],
            "condition_image": [pictures["condition_image"], None, pictures["condition_image"]],
            "condition_mask": [pictures["condition_mask"], None, None],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found = scan(bundle.path, tmp_path / "rows.parquet", tmp_path / "out", code=3)
    assert found["status"].to_pylist() == ["ok", "ok", "error"]
    assert (
        found["error"][2].as_py() == "the row has condition_image and no condition_mask: this model takes both or none"
    )
    first, second = found["dh_uncond_mean"].to_pylist()[:2]
    assert first != second


def test_a_guidance_distilled_model_is_told_the_scale(member: Member, tmp_path: Path) -> None:
    """Its denoiser has the scale as an input, and the step graph one without a twin for no prompt."""
    bundle = member("lcm")
    assert bundle.takes == TAKES["lcm"]
    session = onnxruntime.InferenceSession(bundle.file("step.onnx"), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    assert "guidance" in inputs
    assert "uncond_guidance" not in inputs
    pq.write_table(pa.table({"prompt": ["a cat", "the red dog"]}), tmp_path / "rows.parquet")
    weak, strong = (
        scan(bundle.path, tmp_path / "rows.parquet", tmp_path / scale, "--guidance", scale) for scale in ("1", "8")
    )
    assert weak["status"].to_pylist() == strong["status"].to_pylist() == ["ok", "ok"]
    assert weak["ds_uncond_mean"].to_pylist() != strong["ds_uncond_mean"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["refiner", "edit", "depth", "projected", "xl-inpainting"])
def test_a_member_is_exported_and_scanned(name: str, member: Member, tmp_path: Path) -> None:
    bundle = member(name)
    assert bundle.takes == TAKES[name]
    rows: dict[str, list[Any]] = {"prompt": ["a cat", "the red dog"]}
    if bundle.takes.channels is not None:
        pictures = encoded(example_pictures(bundle.takes.channels.kind, bundle.image_size))
        rows |= {role: [None, picture] for role, picture in pictures.items()}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    found = scan(bundle.path, tmp_path / "rows.parquet", tmp_path / "out")
    assert found["status"].to_pylist() == ["ok", "ok"]
