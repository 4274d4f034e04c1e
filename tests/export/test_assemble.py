"""Export end to end on tiny pipelines: the bundle is whole, its parity is checked, failures leave nothing behind."""

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from diffusers import UNet2DConditionModel

from memscan.export import assemble
from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.autodiff.rules import RULES
from memscan.export.certificate.agreement import certified
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.graphs.storage import StorageDtype
from memscan.export.parity import parity
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Dtypes, open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import ExportError
from memscan.scanner.graph_names import measure
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.settings import DERIVATIVES
from tests.conftest import Exported
from tests.tiny_pipeline import save_pipeline


def silent(line: str) -> None:
    """A report that nobody reads."""


Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    def run(pipeline: Path, *, baseline: Path | None = None, storage: StorageDtype = "float32") -> Path:
        out = tmp_path / "out.bundle"
        with quiet_libraries():
            export_bundle(
                find_checkpoint(str(pipeline)),
                out,
                baseline=find_checkpoint(str(baseline), parts=("unet",)) if baseline else None,
                options=ExportOptions(tangents=2, storage=storage, certify=()),
                report=silent,
            )
        return out

    return run


@pytest.fixture(scope="session")
def traces() -> dict[str, ir.Model]:
    return {}


@pytest.fixture
def traced_once(traces: dict[str, ir.Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace `tiny_pipeline` once for all tests that ask for this: torch needs ten seconds for each of its parts."""
    trace_denoiser, trace_component = assemble.trace_denoiser, assemble.trace_component

    def denoiser(module: torch.nn.Module, *arguments: Any) -> ir.Model:
        name = f"denoiser {next(module.parameters()).sum().item()}"
        return traces.setdefault(name, traces.get(name) or trace_denoiser(module, *arguments))

    def component(module: torch.nn.Module, *arguments: Any) -> ir.Model:
        name = type(module).__name__
        return traces.setdefault(name, traces.get(name) or trace_component(module, *arguments))

    monkeypatch.setattr(assemble, "trace_denoiser", denoiser)
    monkeypatch.setattr(assemble, "trace_component", component)


def test_the_bundle_is_complete_and_verifies(tiny_bundle: Path, tiny_pipeline: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert bundle.model_id == "tiny-sd1"
    assert bundle.latent_shape == (4, 8, 8)
    assert bundle.image_size == (32, 32)
    assert bundle.tangents_per_call == 4
    assert bundle.has_baseline and bundle.baseline_has_text_encoder
    assert bundle.defaults.mask_map == "dh_base"
    assert set(bundle.files) == {
        file.relative_to(tiny_bundle).as_posix()
        for file in tiny_bundle.rglob("*")
        if file.is_file() and file.name != "bundle.json"
    }


def test_no_path_of_the_exporting_machine_is_in_the_bundle(tiny_bundle: Path, tiny_pipeline: Path) -> None:
    paths = (Path(torch.__file__).parent, Path(assemble.__file__).parent, tiny_pipeline.parent)
    for file in (file for file in tiny_bundle.rglob("*") if file.is_file()):
        content = file.read_bytes()
        assert not any(str(path).encode() in content for path in paths), file.name


def test_step_and_measure_share_one_weight_file(tiny_bundle: Path) -> None:
    """Each weight is stored once: the file is no larger than the UNet's parameters in float32."""
    parameters = sum(
        np.prod(tensor.dims, dtype=int) * 4
        for tensor in onnx.load(tiny_bundle / "step.onnx", load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    )
    assert (tiny_bundle / "weights.bin").stat().st_size == parameters


def test_contract_of_the_graphs(tiny_bundle: Path) -> None:
    def signature(name: str) -> dict[str, list[int | str]]:
        session = onnxruntime.InferenceSession(tiny_bundle / name, providers=["CPUExecutionProvider"])
        return {value.name: value.shape for value in [*session.get_inputs(), *session.get_outputs()]}

    latent, text = ["N", 4, 8, 8], ["N", 20, 32]
    assert signature("text_encoder.onnx") == {"input_ids": ["N", 20], "encoder_hidden_states": text}
    assert signature("vae_decoder.onnx") == {"latents": latent, "image": ["N", 3, 32, 32]}
    assert signature("vae_encoder.onnx") == {"image": ["N", 3, 32, 32], "latents": latent}
    level = {name: ["N"] for name in ("timestep", "alpha", "sigma")}
    measure = {
        "sample": latent,
        **level,
        "encoder_hidden_states": text,
        "tangents": [4, *latent],
        "eps": latent,
        "v_dot_jv": latent,
    }
    assert signature("measure.onnx") == signature("baseline/measure.onnx") == measure
    prompt = {"sample": latent, **level, "encoder_hidden_states": text}
    observed = {"last_token_attention": ["N", 1, 8, 8], "token_attention": ["N", 20], "bottleneck": ["N", 32, 4, 4]}
    assert signature("observe.onnx") == {**prompt, **observed}
    both = {**prompt, "uncond_encoder_hidden_states": text}
    assert signature("condition.onnx") == {**both, "eps": latent, "condition_product": latent}
    assert signature("step.onnx") == {
        "sample": latent,
        **level,
        "encoder_hidden_states": text,
        "uncond_encoder_hidden_states": text,
        "previous_denoised": latent,
        **{name: [] for name in ("guidance_scale", "a", "b", "c", "d")},
        **dict.fromkeys(("next_sample", "denoised", "eps", "uncond_eps"), latent),
    }


def test_sd2_family_with_v_prediction_and_float16_storage_exports_within_the_limit(
    export: Export, tmp_path: Path
) -> None:
    """Linear projections, head sizes instead of counts, '!' as padding; parity is checked by the export itself, of
    graphs and of a whole image."""
    pipeline = save_pipeline(tmp_path / "sd2", family="sd2", prediction_type="v_prediction", pad_with="!")
    out = export(pipeline, storage="float16")
    bundle = open_bundle(out)
    assert bundle.prediction_type == "v_prediction"
    assert bundle.text.tokenizers[0].pad_token_id == 0
    unet = (pipeline / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert 0.5 * unet < (out / "weights.bin").stat().st_size + (out / "step.onnx").stat().st_size < unet


def test_the_command_prints_the_parity_table(tiny_export: Exported) -> None:
    printed = tiny_export.printed
    for graph, limit in (
        *((f"{folder}{measure(kind)}", "1e-05") for kind in DERIVATIVES for folder in ("", "baseline/")),
        ("step.onnx", "1e-05"),
        ("vae_decoder.onnx", "1e-04"),
        ("baseline/text_encoder.onnx", "1e-05"),
    ):
        assert re.search(rf"^{re.escape(graph)} .* {limit}  ok$", printed, re.M), graph
    assert "v_dot_jv" in printed and "FAILED" not in printed
    costs = re.search(r"forward passes that a call costs, by its operations: (.*)", printed)
    assert costs is not None
    assert [cost.split()[0] for cost in costs[1].split(", ")] == [*DERIVATIVES]
    assert f"bundle written to {tiny_export.path}; scan with: memscan run manifest.parquet --model" in printed


def test_a_second_export_of_a_checkpoint_is_the_same_to_the_byte(
    export: Export, tiny_pipeline: Path, tiny_bundle: Path
) -> None:
    torch.manual_seed(99)
    again, first = open_bundle(export(tiny_pipeline)).files, open_bundle(tiny_bundle).files
    alike = {name: digest for name, digest in again.items() if not name.startswith("measure.")}  # of other tangents
    assert alike == {name: first[name] for name in alike}


@pytest.mark.usefixtures("traced_once")
def test_a_baseline_with_the_same_text_encoder_shares_it(
    export: Export, tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    early = Path(shutil.copytree(tiny_pipeline, tmp_path_factory.mktemp("early") / "early"))
    UNet2DConditionModel.from_config(str(early / "unet")).save_pretrained(early / "unet")
    out = export(tiny_pipeline, baseline=early)
    bundle = open_bundle(out)
    assert not bundle.baseline_has_text_encoder
    assert "baseline/text_encoder.onnx" not in bundle.files


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize(
    ("precision", "compute", "verdict", "of_image"),
    [
        (
            "fp16",
            "float16",
            r"1e-02  ok, by a runtime that computes float16 in float32",
            r"5e-02  ok, the pipeline computes in float32: diffusers runs none in half precision on a CPU",
        ),
        ("bf16", "bfloat16", *[r"-        -  not run: ONNX Runtime has no bfloat16 product on the CPU"] * 2),
    ],
)
def test_half_precision_is_recorded_and_the_table_says_what_is_proven(
    tiny_pipeline: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    compute: str,
    verdict: str,
    of_image: str,
) -> None:
    out = tmp_path / "half.bundle"
    assert (
        invoke(["export", str(tiny_pipeline), str(out), "--tangents", "2", "--precision", precision, "--no-certify"])
        == 0
    )
    printed = capsys.readouterr().out
    for graph, outputs in (("measure.onnx", 2), ("step.onnx", 4)):
        assert len(re.findall(rf"^{graph} .*{verdict}", printed, re.M)) == outputs
    assert re.search(r"^text_encoder.onnx .* 1e-05  ok$", printed, re.M)
    assert len(re.findall(rf"^StableDiffusionPipeline .*{of_image}", printed, re.M)) == 2
    assert open_bundle(out).dtypes == Dtypes("float32", compute)
    unet = (tiny_pipeline / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert 0.4 * unet < (out / "weights.bin").stat().st_size < 0.55 * unet


@pytest.mark.usefixtures("traced_once")
def test_export_ends_with_a_certificate_that_chooses_the_default(
    tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red house\na blue dog\n")
    out = tmp_path / "certified.bundle"
    options = ["--tangents", "2", "--certify-prompts", str(prompts), "--model-id", "acme/fox 1"]
    assert invoke(["export", str(tiny_pipeline), str(out), *options]) == 0
    bundle = open_bundle(out)
    assert bundle.model_id == "acme/fox 1"
    assert bundle.certificate is not None and bundle.certificate.prompts == 2
    assert bundle.defaults.derivative == certified(bundle.certificate)
    assert f"default derivative: {bundle.defaults.derivative}\n" in capsys.readouterr().out


def test_prompts_and_no_certificate_contradict_each_other(
    tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(tiny_pipeline), str(tmp_path / "b"), "--no-certify", "--certify-prompts", "p.txt"]
    assert invoke(arguments) == 2
    assert "--certify-prompts and --no-certify contradict each other" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\x1b[2J"])
def test_a_model_is_called_by_a_name_in_one_line(
    name: str, tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", str(tiny_pipeline), str(tmp_path / "b"), "--no-certify", "--model-id", name]) == 2
    assert "--model-id: expected a name in one line" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_an_existing_target_is_left_alone(export: Export, tiny_pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "out.bundle").mkdir()
    with pytest.raises(ExportError, match=r"out.bundle exists: choose another name"):
        export(tiny_pipeline)


@pytest.mark.usefixtures("traced_once")
def test_failed_parity_is_an_error_and_leaves_nothing(
    export: Export, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "LIMIT", 0.0)
    with pytest.raises(ExportError, match=r"parity with torch failed for .*v_dot_jv.*no bundle was written"):
        export(tiny_pipeline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_once")
def test_an_unknown_operator_is_named_and_leaves_nothing(
    export: Export, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RULES, "Conv")
    with pytest.raises(
        ExportError, match=r"no derivative rule for Conv node '.+'; the tangent arrives in its input 'sample'"
    ):
        export(tiny_pipeline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_once")
def test_a_full_disk_is_one_line_with_exit_code_1_and_leaves_nothing(
    tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assemble, "save_sharing_weights", full)
    assert invoke(["export", str(tiny_pipeline), str(tmp_path / "b")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_once")
def test_parts_that_do_not_belong_together_are_refused(
    export: Export, tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mixed = Path(shutil.copytree(tiny_pipeline, tmp_path_factory.mktemp("mixed") / "mixed"))
    unet = UNet2DConditionModel.from_config(str(mixed / "unet"), cross_attention_dim=16)
    unet.save_pretrained(mixed / "unet")
    with pytest.raises(ExportError, match="attends to text of width 16, but the text encoder gives 32"):
        export(mixed)


@pytest.mark.usefixtures("traced_once")
def test_a_baseline_with_another_tokenizer_is_refused(
    export: Export, tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Path(shutil.copytree(tiny_pipeline, tmp_path_factory.mktemp("other") / "other"))
    file = other / "tokenizer" / "tokenizer.json"
    record = json.loads(file.read_text())
    vocabulary = record["model"]["vocab"]
    vocabulary["cat</w>"], vocabulary["dog</w>"] = vocabulary["dog</w>"], vocabulary["cat</w>"]
    file.write_text(json.dumps(record))
    with pytest.raises(ExportError, match="has another tokenizer than"):
        export(tiny_pipeline, baseline=other)
