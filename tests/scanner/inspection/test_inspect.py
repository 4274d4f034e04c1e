"""`memscan inspect`: its values are those of the bundle, its text is safe and short, and torch stays out of it."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.cli import invoke
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.inspection import engines
from memscan.scanner.terminal import printable_lines
from tests.analytic_bundle import write_analytic_bundle


def inspected(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert invoke(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def facts(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inspected(*arguments, "--json", capsys=capsys))
    return found


def line(heading: str, text: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(heading)]
    return found.removeprefix(heading).strip()


def test_json_has_the_values_of_the_analytic_bundle(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(analytic, capsys=capsys)
    assert found["digest"] == hashlib.sha256((analytic / "bundle.json").read_bytes()).hexdigest()
    assert found["model"] == {"id": "analytic", "digest": "0" * 64, "adapters": [], "embeddings": []}
    assert found["baseline"] == {"id": "analytic-early", "digest": "0" * 64, "own_text_encoder": False}
    assert (found["latents"], found["images"]) == ([4, 8, 8], [32, 32])
    assert found["family"] == "Stable Diffusion 1.x or 2.x"
    # scaled-linear betas: alpha^2 is 1 - 0.00085 first, and 0.00466 last
    assert found["schedule"]["alpha"] == pytest.approx([(1 - 0.00085) ** 0.5, 0.00466009**0.5], rel=1e-5)
    assert found["schedule"]["sigma"] == pytest.approx([0.00085**0.5, (1 - 0.00466009) ** 0.5], rel=1e-5)
    assert found["bytes"] == sum(file.stat().st_size for file in analytic.rglob("*.*") if file.name != "bundle.json")
    assert found["passes_per_call"] == {"shallow": 2.0, "exact": pytest.approx(5.6)}
    graphs = {graph["name"]: graph for graph in found["graphs"]}
    assert graphs["measure.onnx"]["gives"] == {"eps": ["prompt", "none"], "diagonal": ["prompt", "none"]}
    assert graphs["measure.onnx"]["passes"] == graphs["baseline/measure.onnx"]["passes"] == pytest.approx(5.6)
    assert graphs["condition.onnx"]["passes"] == pytest.approx(1 + 1.15)
    assert graphs["text_encoder.onnx"]["passes"] is None
    assert graphs["step.onnx"]["bytes"] == (analytic / "step.onnx").stat().st_size
    assert [one["timestep"] for one in found["calibrations"]] == [201, 101, 1]


def test_the_price_is_that_of_the_default_scan(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps 7, 8 and 9 of ten are measured, for three conditions and two groups of four probes each; from the first two
    of them the step is taken by what was measured."""
    price = facts(analytic, capsys=capsys)["price"]
    assert price == {"sampling": 2 * 7, "measuring": pytest.approx(3 * 3 * 2 * 5.6)}


def test_text_of_the_analytic_bundle(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspected(analytic, capsys=capsys)
    assert line("baseline", text) == "analytic-early, digest 0000000000000000..., with the model's text encoder"
    assert line("latents", text) == "4 x 8 x 8, of images of 32 x 32 pixels"
    assert line("family", text) == "Stable Diffusion 1.x or 2.x, predicting eps"
    assert line("derivatives", text) == "shallow      2 passes for 4 tangents; not certified"
    assert line("calibrated", text).startswith("dh_uncond >= 0.1 at timestep 201: 10 steps of ddim, guidance 2.5, 8 ")
    assert line("schedule", text).endswith("; leading + 1, ends at timestep 0")


def test_a_certificate_is_said_by_its_worst_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agreements = (
        Agreement("shallow", "dh_uncond", 201, 0.9991, 1.0),
        Agreement("shallow", "dh_base", 101, 0.9712, 1.0),
    )
    write_analytic_bundle(tmp_path / "b", certificate=Certificate(5, "0" * 64, agreements))
    said = line("derivatives", inspected(tmp_path / "b", capsys=capsys))
    assert said.endswith("agrees with exact by 0.9712 or more (dh_base at 101; 5 prompts)")
    write_analytic_bundle(
        tmp_path / "c",
        certificate=Certificate(5, "0" * 64, (*agreements, Agreement("shallow", "dh_base", 1, None, None))),
    )
    said = line("derivatives", inspected(tmp_path / "c", capsys=capsys))
    assert said.endswith("agreement with exact undefined (dh_base at 1; 5 prompts)")


def test_a_calibration_beside_the_bundle_is_said_and_sets_the_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured at step 8 of ten: one step less is paid, and sixteen probes are four groups, for three conditions."""
    bundle = tmp_path / "bundle"
    write_analytic_bundle(bundle, calibrated=False)
    clean = tmp_path / "clean.txt"
    clean.write_text("\n".join(f"a hazy rug {number}" for number in range(20)))
    options = ("--rate", "0.1", "--timestep", "101", "--num-probes", "16", "--guidance", "2", "--threads", "1")
    assert invoke(["calibrate", str(bundle), "--clean", str(clean), *options]) == 0
    found = facts(bundle, capsys=capsys)
    said = found["calibration_file"]
    assert said["digest"] == hashlib.sha256((bundle / "calibration.json").read_bytes()).hexdigest()
    assert (said["rate"], said["clean_prompts"], said["timesteps"]) == (0.1, 20, [101])
    assert said["settings"]["probes"]["count"] == 16
    assert found["price"] == {"sampling": 2 * 8, "measuring": pytest.approx(3 * 4 * 5.6)}
    text = inspected(bundle, capsys=capsys)
    assert line("calibration ", text).startswith("calibration.json: 20 clean prompts, rate of false positives 0.1, ")
    assert "a run takes timestep 101, masks of dh_uncond, score " in text
    record = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(record, indent=1))
    text = inspected(bundle, capsys=capsys)
    assert "calibration.json is the calibration of another bundle" in line("calibration ", text)


def test_adapters_are_named_with_their_scale(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(analytic, tmp_path / "copy")
    record = json.loads((copy / "bundle.json").read_text())
    record["model"]["adapters"] = [{"file": "style.safetensors", "digest": "1" * 64, "scale": 0.8}]
    (copy / "bundle.json").write_text(json.dumps(record))
    assert line("adapters", inspected(copy, capsys=capsys)) == "style.safetensors x 0.8"


def test_what_was_made_of_the_text_is_said(analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(analytic, tmp_path / "copy")
    record = json.loads((copy / "bundle.json").read_text())
    record["model"]["embeddings"] = [{"file": "toy.safetensors", "digest": "1" * 64, "token": "<toy>"}]
    record["text"]["clip_skip"] = 2
    (copy / "bundle.json").write_text(json.dumps(record))
    text = inspected(copy, capsys=capsys)
    assert line("embeddings", text) == "<toy> of toy.safetensors"
    assert line("text", text).endswith("; no prompt is ''; clip skip 2")
    assert "clip skip" not in inspected(analytic, capsys=capsys)


def test_nothing_more_than_there_is(analytic_without_baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspected(analytic_without_baseline, capsys=capsys)
    assert line("baseline", text) == "none: no dh_base, no ds_base"
    assert facts(analytic_without_baseline, capsys=capsys)["baseline"] is None


def test_the_embedded_model_fits_on_a_screen_and_lists_its_default_threshold_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = inspected("testbed", capsys=capsys)
    record = json.loads((BUNDLE / "bundle.json").read_bytes())
    assert len(text.splitlines()) <= 50
    assert max(map(len, text.splitlines())) <= 128
    threshold = next(
        one["threshold"]
        for one in record["calibrations"]
        if one["map"] == "dh_uncond" and one["timestep"] == record["defaults"]["timesteps"][0]
        and one["derivative"] == record["defaults"]["derivative"]
    )  # fmt: skip
    assert line("calibrated", text).startswith(f"dh_uncond >= {threshold:.4g} at timestep 201: ")
    assert f"and {len(record['calibrations']) - 6} more: --json lists them" in text


def test_sdxl_is_told_by_its_two_text_encoders(tiny_xl_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspected(tiny_xl_bundle, capsys=capsys)
    assert line("family", text) == "Stable Diffusion XL, predicting eps"
    said = "2 text encoders of 20 tokens (tokenizer.json, tokenizer_2.json); no prompt is zeros"
    assert line("text", text) == said
    assert facts(tiny_xl_bundle, capsys=capsys)["weights_bytes"] == (tiny_xl_bundle / "weights.bin").stat().st_size


def test_digests_are_compared_only_when_asked(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(analytic, tmp_path / "copy")
    assert line("files", inspected(copy, "--verify", capsys=capsys)).endswith("compared with their digests")
    tokenizer = copy / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<pad>", "<PAD>"))
    assert line("files", inspected(copy, capsys=capsys)).endswith("digests not compared: --verify does")
    assert facts(copy, capsys=capsys)["verified"] is False
    assert invoke(["inspect", str(copy), "--verify"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "tokenizer.json does not have the recorded digest" in said


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format_version": 3}'])
def test_what_is_no_bundle_is_refused_in_one_line(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "bundle.json").write_text(content)
    assert invoke(["inspect", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_a_name_cannot_steer_the_terminal(analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(analytic, tmp_path / "copy")
    record = json.loads((copy / "bundle.json").read_text())
    record["model"]["id"] = "\x1b[2Jevil\nengines      all \u202e" + "x" * 500
    record["text"]["uncond_prompt"] = "\x1b]0;title\x07"
    (copy / "bundle.json").write_text(json.dumps(record))
    text = inspected(copy, capsys=capsys)
    assert text == printable_lines(text)
    assert len(text.splitlines()) == len(inspected(analytic, capsys=capsys).splitlines())
    assert line("model", text).startswith(r"\x1b[2Jevil\nengines      all \u202exx")
    assert inspected(copy, "--json", capsys=capsys).isascii()


def engine(name: str, device: str, *arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (found,) = [
        one
        for one in facts(*arguments, capsys=capsys)["engines"]
        if (one["engine"], one["device"]) == (name, device)
    ]  # fmt: skip
    return dict(found)


def test_an_engine_that_is_not_installed_says_how_to_get_it(
    analytic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "installed_version", lambda package: None if package == "onnx" else "9.9")
    lacking = engine("torch", "CPU or CUDA", analytic, capsys=capsys)
    assert (lacking["version"], lacking["lacks"]) == ("9.9", 'not installed: pip install "memscan[torch]"')
    assert engine("tensorrt", "CUDA", analytic, capsys=capsys)["lacks"] == ""
    monkeypatch.delitem(sys.modules, "memscan.scanner.runtimes.quiet_onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for device, extra in (("CPU", "cpu"), ("CUDA", "gpu")):
        found = engine("onnxruntime", device, analytic, capsys=capsys)
        assert (found["version"], found["lacks"]) == (None, f'not installed: pip install "memscan[{extra}]"')


def test_bfloat16_cannot_be_run_by_onnx_runtime_on_the_cpu(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(analytic, tmp_path / "copy")
    record = json.loads((copy / "bundle.json").read_text())
    record["dtypes"]["compute"] = "bfloat16"
    (copy / "bundle.json").write_text(json.dumps(record))
    assert engine("onnxruntime", "CPU", analytic, capsys=capsys)["lacks"] == ""
    assert "no bfloat16 product on the CPU" in engine("onnxruntime", "CPU", copy, capsys=capsys)["lacks"]


def test_torch_and_tensorrt_are_never_loaded() -> None:
    code = """
import sys
from memscan.scanner.cli import invoke
assert invoke(["inspect", "testbed"]) == 0
assert not {"torch", "tensorrt", "tensorrt_rtx_bindings", "onnx", "diffusers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
