"""Makes a bundle of a checkpoint: traces, differentiates, writes, checks parity, and only then gives it its name.

Everything is written to a folder beside the target and renamed at the end, so that no half-written bundle is ever seen.
"""

import dataclasses
import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint import Checkpoint
from memscan.export.components import Decoder, Encoder, TextEncoder, trace_component
from memscan.export.denoiser import EpsDenoiser
from memscan.export.guided import guided_step
from memscan.export.measure import measure_graph
from memscan.export.parity import ParityRow, check_denoiser, check_module, format_table, round_weights
from memscan.export.storage import StorageDtype, save_graph, save_sharing_weights
from memscan.export.trace import trace_denoiser
from memscan.scanner.bundle import Calibration, Defaults, Text, bundle_record, file_digest
from memscan.scanner.errors import ExportError
from memscan.scanner.settings import Probes

PAPER_DEFAULTS = Defaults(
    num_inference_steps=50,
    guidance_scale=7.5,
    timesteps=(1,),
    probes=Probes(),
    mask_map="dh_uncond",
    threshold=0.5,
)
"""The paper's settings: the last of 50 DDIM steps at guidance 7.5. The threshold is half of a full collapse."""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What is not in the checkpoint. `tangents` is how many the derivative graph takes in one call."""

    tangents: int = 8
    storage: StorageDtype = "float32"
    defaults: Defaults = PAPER_DEFAULTS
    calibrations: tuple[Calibration, ...] = ()


def export_bundle(
    model: Checkpoint,
    out: Path,
    *,
    baseline: Checkpoint | None = None,
    options: ExportOptions = ExportOptions(),
    report: Callable[[str], None] = print,
) -> list[ParityRow]:
    """Export `model` to a bundle at `out`.

    Args:
        baseline: a less-trained checkpoint of the same model, for dh_base and ds_base.
        report: called with a line, or the parity table, at each stage.

    Returns:
        The parity of every output of every graph, all within the limit.

    Raises:
        ExportError: `out` exists, the checkpoint has parts that do not fit each other, an operator cannot be
            differentiated, or parity is exceeded; nothing is left at `out`.
        OSError: the disk is full or not writable; likewise.
    """
    if out.exists():
        raise ExportError(f"{out} exists: choose another name, or remove it first")
    with _written_aside(out) as folder:
        rows = _Assembly(model, baseline, options, folder, report).run()
        report(format_table(rows))
        failed = [f"{row.graph} {row.output}" for row in rows if not row.passed]
        if failed:
            raise ExportError(
                f"parity with torch failed for {', '.join(failed)}: no bundle was written; please report it"
            )
    return rows


@contextmanager
def _written_aside(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` that becomes `out` if all goes well, and vanishes if not."""
    aside = out.absolute().with_name(f".{out.name}.partial-{os.getpid()}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir()
    try:
        yield aside
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class _Assembly:
    """One export in progress."""

    def __init__(
        self,
        model: Checkpoint,
        baseline: Checkpoint | None,
        options: ExportOptions,
        folder: Path,
        report: Callable[[str], None],
    ):
        self.model = model
        self.baseline = baseline
        self.options = options
        self.folder = folder
        self.report = report
        self.rows: list[ParityRow] = []

    def run(self) -> list[ParityRow]:
        text = self._write_tokenizer()
        text_shape = text.max_length, int(_config(self.model, "text_encoder")["hidden_size"])
        latent_shape = self._write_denoiser(self.model, self.folder, text_shape, guided=True)
        self._write_text_encoder(self.model, self.folder, text)
        pixels_per_cell = self._write_vae()
        baseline = self._write_baseline(text, text_shape, latent_shape) if self.baseline else None
        image_height, image_width = (side * pixels_per_cell for side in latent_shape[1:])
        record = bundle_record(
            model=_identity(self.model),
            prediction_type=self.model.prediction_type(),
            latent_shape=latent_shape,
            image_size=(image_height, image_width),
            schedule=self.model.schedule(),
            text=text,
            tangents_per_call=self.options.tangents,
            defaults=self.options.defaults,
            calibrations=self.options.calibrations,
            baseline=baseline,
            dtypes={"weights": self.options.storage, "compute": "float32"},
            files=_digests(self.folder),
        )
        (self.folder / "bundle.json").write_text(json.dumps(record, indent=1) + "\n")
        return self.rows

    def _write_tokenizer(self) -> Text:
        tokenizer = self.model.tokenizer()
        limit = int(_config(self.model, "text_encoder")["max_position_embeddings"])
        (self.folder / "tokenizer.json").write_text(_tokenizer_json(tokenizer))
        return Text(
            max_length=min(int(tokenizer.model_max_length), limit),
            pad_token_id=int(tokenizer.pad_token_id),
            bos_token_id=int(tokenizer.bos_token_id),
            eos_token_id=int(tokenizer.eos_token_id),
        )

    def _write_text_encoder(self, checkpoint: Checkpoint, folder: Path, text: Text) -> None:
        self.report(f"text encoder of {checkpoint.id}")
        encoder = TextEncoder(checkpoint.load("text_encoder"))
        round_weights(encoder, self.options.storage)
        ids = torch.randint(0, encoder.model.config.vocab_size, (2, text.max_length), generator=_generator())
        self._write_module(encoder, ids, folder / "text_encoder.onnx", "input_ids", "hidden_states")

    def _write_vae(self) -> int:
        """Write both halves of the VAE; returns how many image pixels a latent cell spans on each axis."""
        self.report("VAE")
        vae = self.model.load("vae")
        round_weights(vae, self.options.storage)
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        height, width = _latent_size(self.model)
        latents = torch.randn(2, vae.config.latent_channels, height, width, generator=_generator())
        image = torch.randn(2, vae.config.in_channels, height * scale, width * scale, generator=_generator())
        self._write_module(Decoder(vae), latents, self.folder / "vae_decoder.onnx", "latents", "image")
        self._write_module(Encoder(vae), image, self.folder / "vae_encoder.onnx", "image", "latents")
        return scale

    def _write_module(
        self, module: torch.nn.Module, example: torch.Tensor, file: Path, input_name: str, output_name: str
    ) -> None:
        save_graph(trace_component(module, example, input_name, output_name), file, self.options.storage)
        self.rows += check_module(file, module, example, self._prefix(file.parent))

    def _write_denoiser(
        self, checkpoint: Checkpoint, folder: Path, text_shape: tuple[int, int], *, guided: bool
    ) -> tuple[int, int, int]:
        unet = checkpoint.load("unet")
        if unet.config.cross_attention_dim != text_shape[1]:
            raise ExportError(
                f"{checkpoint.path / 'unet'} attends to text of width {unet.config.cross_attention_dim}, but the text"
                f" encoder gives {text_shape[1]}: these parts do not belong together"
            )
        latent_shape = (int(unet.config.in_channels), *_latent_size(checkpoint))
        size = sum(parameter.numel() for parameter in unet.parameters()) / 1e6
        self.report(f"UNet of {checkpoint.id}, {size:.1f} M parameters: tracing")
        round_weights(unet, self.options.storage)
        schedule = self.model.schedule()
        denoiser = EpsDenoiser(unet, self._prediction_type(checkpoint), schedule.alphas_cumprod)
        traced = trace_denoiser(denoiser, latent_shape, text_shape)
        self.report(f"UNet of {checkpoint.id}: derivative graph for {self.options.tangents} tangents")
        graphs = {"measure.onnx": measure_graph(traced, self.options.tangents)}
        if guided:
            graphs["step.onnx"] = guided_step(traced, schedule.alphas_cumprod)
        nodes = ", ".join(f"{name} {_node_count(graph)} nodes" for name, graph in graphs.items())
        self.report(f"UNet of {checkpoint.id}: {nodes}; writing and comparing with torch")
        save_sharing_weights(graphs, folder, self.options.storage)
        del traced, graphs
        gc.collect()
        self.rows += check_denoiser(
            folder, denoiser, latent_shape, text_shape, self.options.tangents, self._prefix(folder)
        )
        return latent_shape

    def _prefix(self, folder: Path) -> str:
        return "" if folder == self.folder else f"{folder.name}/"

    def _prediction_type(self, checkpoint: Checkpoint) -> str:
        return (checkpoint if checkpoint.has("scheduler") else self.model).prediction_type()

    def _write_baseline(
        self, text: Text, text_shape: tuple[int, int], latent_shape: tuple[int, int, int]
    ) -> dict[str, object]:
        assert self.baseline is not None
        folder = self.folder / "baseline"
        folder.mkdir()
        self._check_same_tokenizer(self.baseline)
        own_encoder = self.baseline.has("text_encoder") and not _same_weights(self.baseline, self.model, "text_encoder")
        if own_encoder:
            text_shape = text.max_length, int(_config(self.baseline, "text_encoder")["hidden_size"])
            self._write_text_encoder(self.baseline, folder, text)
        if self._write_denoiser(self.baseline, folder, text_shape, guided=False) != latent_shape:
            raise ExportError(f"{self.baseline.path} has other latents than {self.model.path}: not the same model")
        return {**_identity(self.baseline), "text_encoder": own_encoder}

    def _check_same_tokenizer(self, baseline: Checkpoint) -> None:
        if baseline.has("tokenizer") and _tokenizer_json(baseline.tokenizer()) != _tokenizer_json(
            self.model.tokenizer()
        ):
            raise ExportError(f"{baseline.path} has another tokenizer than {self.model.path}: not the same model")


def _identity(checkpoint: Checkpoint) -> dict[str, object]:
    return {"id": checkpoint.id, "revision": checkpoint.revision, "digest": checkpoint.digest}


def _tokenizer_json(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer without truncation and padding, which the scanner applies by the rules in `bundle.json`."""
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({**record, "truncation": None, "padding": None}, ensure_ascii=False)


def _config(checkpoint: Checkpoint, part: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((checkpoint.path / part / "config.json").read_text())
    return record


def _latent_size(checkpoint: Checkpoint) -> tuple[int, int]:
    size = _config(checkpoint, "unet")["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    return int(height), int(width)


def _same_weights(one: Checkpoint, other: Checkpoint, part: str) -> bool:
    digests = [
        {file.name: file_digest(file) for file in (checkpoint.path / part).glob("*.safetensors")}
        for checkpoint in (one, other)
    ]
    return digests[0] == digests[1]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _node_count(model: ir.Model) -> int:
    return sum(1 for _ in model.graph)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
