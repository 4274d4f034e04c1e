"""Makes a bundle of a checkpoint: traces, differentiates, writes, checks parity, and only then gives it its name.

Everything is written to a folder beside the target and renamed at the end, so that no half-written bundle is ever seen.
"""

import dataclasses
import gc
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from memscan.export.autodiff.cut import CUTS, TRANSFORMER_CUTS
from memscan.export.certificate.agreement import certified
from memscan.export.certificate.certify import certify, format_certificate
from memscan.export.certificate.prompts import PROMPTS
from memscan.export.checkpoint.baseline import check_baseline, same_weights
from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.components import Component, Decoder, Encoder
from memscan.export.checkpoint.default_timesteps import at_own_timesteps
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.takes import takes_of
from memscan.export.checkpoint.target import beside, require_free
from memscan.export.checkpoint.tokenization import write_tokenizers
from memscan.export.checkpoint.usual_defaults import is_usually_unguided, usual_defaults
from memscan.export.graphs.flops import forward_passes
from memscan.export.graphs.graphs import denoiser_graphs, given_by
from memscan.export.graphs.storage import StorageDtype, round_weights, save_graph, save_sharing_weights
from memscan.export.graphs.trace import trace_component, trace_denoiser
from memscan.export.parity.baseline_trajectory import UNGUIDED, compare_baseline, draw_baseline_reference
from memscan.export.parity.failure import failure, trajectory_failure
from memscan.export.parity.oracle import DenoiserOracle, component_case
from memscan.export.parity.parity import LIMIT, PICTURE_LIMIT, ParityRow, compare, compare_denoiser, format_table
from memscan.export.parity.trajectory import Drawing, Reference, compare_trajectory, draw_reference, steps_for
from memscan.export.passes.half_precision import Precision
from memscan.export.passes.sliced_attention import unsliced_scores
from memscan.scanner import graph_names
from memscan.scanner.bundle import Gives, bundle_record, file_digest
from memscan.scanner.bundle_parts import Calibration, Defaults, Dtype, Dtypes, Text
from memscan.scanner.errors import ExportError
from memscan.scanner.metrics.probes import default_probes
from memscan.scanner.sampling.samplers import samplers_for
from memscan.scanner.settings import Derivative

PAPER_DEFAULTS = Defaults(
    num_inference_steps=50,
    guidance_scale=7.5,
    timesteps=(1,),
    probes=None,
    mask_map="dh_uncond",
)
"""The paper's settings: the last of 50 DDIM steps at guidance 7.5. The probes are those of the number of channels."""
BASELINE_DEFAULTS = dataclasses.replace(PAPER_DEFAULTS, mask_map="dh_base")
"""Where there is a baseline: caption dropout spoils dh_uncond, and not this map (docs/results.md)."""


_WITHOUT_LEVELS = (
    "a transformer has no downsampling and no cross-attention: its shallow derivative ends at attention, and there is"
    " no metric of attention or bottleneck"
)

_COMPUTE: dict[Precision, Dtype] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What is not in the checkpoint.

    `tangents` is how many the derivative graph takes in one call. `precision` is the denoiser's; text encoders and VAE
    compute in float32 always. `storage` is for the weights of whatever computes in float32. `certify` are the prompts
    of the certificate; without, there is none, and the default derivative is that of `defaults`, which are
    PAPER_DEFAULTS, or BASELINE_DEFAULTS, where none are given.
    """

    tangents: int = 8
    storage: StorageDtype = "float32"
    precision: Precision = "fp32"
    defaults: Defaults | None = None
    certify: tuple[str, ...] = PROMPTS
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
        report: called with a line, or a table of parity, at each stage.

    Returns:
        The parity of every output of every graph, and of an image with that of the checkpoint's own pipeline; all
        within the limit.

    Raises:
        ExportError: `out` exists, the checkpoint has parts that do not fit each other, an operator cannot be
            differentiated, or parity is exceeded; nothing is left at `out`.
        OSError: the disk is full or not writable; likewise.
    """
    require_free(out)
    with _written_aside(out) as folder:
        assembly = _Assembly(model, baseline, options, folder, report)
        rows = assembly.run()
        report(format_table(rows))
        complaint = failure(rows, options.precision, narrowed=options.storage == "float16")
        if complaint:
            raise ExportError(complaint)
        rows += assembly.compare_trajectory()
        assembly.certify()
    return rows


@contextmanager
def _written_aside(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` that becomes `out` if all goes well, and vanishes if not."""
    aside = beside(out)
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
        chosen = options.defaults or (PAPER_DEFAULTS if baseline is None else BASELINE_DEFAULTS)
        self.defaults = usual_defaults(model, chosen)
        self.rows: list[ParityRow] = []
        self.passes: dict[Derivative, float] = {}
        self.gives: dict[str, Gives] = {}
        self.record: dict[str, Any] = {}
        self.reference: Reference | None = None
        self.baseline_reference: Reference | None = None

    def run(self) -> list[ParityRow]:
        remarks = (*self.model.remarks, *(self.baseline.remarks if self.baseline else ()))
        for remark in (*remarks, *(check_baseline(self.model, self.baseline) if self.baseline else ())):
            self.report(remark)
        text = write_tokenizers(self.model, self.folder)
        parts = self._write_text_encoder(self.model, self.folder, text) | self._write_vae()
        latent_shape = self._write_denoiser(self.model, self.folder, text, beside=parts)
        baseline = self._write_baseline(text, latent_shape) if self.baseline else None
        defaults = self.defaults
        if defaults.probes is None:
            defaults = dataclasses.replace(defaults, probes=default_probes(latent_shape[0]))
        defaults = at_own_timesteps(defaults, self.model.schedule())
        self.record = bundle_record(
            model=identity(self.model),
            prediction_type=self.model.prediction_type(),
            latent_shape=latent_shape,
            image_size=self.model.image_size(),
            schedule=self.model.schedule(),
            text=text,
            tangents_per_call=self.options.tangents,
            passes=self.passes,
            certificate=None,
            defaults=defaults,
            calibrations=self.options.calibrations,
            baseline=baseline,
            dtypes=Dtypes(self.options.storage, _COMPUTE[self.options.precision]),
            graphs=self.gives,
            files=_digests(self.folder),
            takes=takes_of(self.model),
        )
        self._write_record()
        return self.rows

    def compare_trajectory(self) -> list[ParityRow]:
        """Compare what the bundle draws, and its baseline, with what the checkpoints' own pipelines drew.

        Raises:
            ExportError: they differ.
        """
        assert self.reference is not None
        rows = compare_trajectory(self.folder, self.reference, self.options.precision)
        if self.baseline_reference is not None:
            rows.append(compare_baseline(self.folder, self.baseline_reference, self.options.precision))
        self.report(format_table(rows, "pipeline"))
        for of_one in (rows[:2], rows[2:]):
            complaint = trajectory_failure(of_one, self.options.precision, narrowed=self.options.storage == "float16")
            if complaint:
                raise ExportError(complaint)
        return rows

    def certify(self) -> None:
        """Measure how the cheaper derivatives agree with the exact one; the cheapest that does becomes the default."""
        prompts = self.options.certify
        if not prompts:
            return
        if self.options.precision == "bf16":
            self.report("no certificate: ONNX Runtime has no bfloat16 product on the CPU; default derivative: exact")
            return
        certificate = certify(self.folder, prompts, self.report)
        self.report(format_certificate(certificate))
        self.record["certificate"] = dataclasses.asdict(certificate)
        self.record["defaults"]["derivative"] = certified(certificate)
        self._write_record()

    def _write_record(self) -> None:
        (self.folder / graph_names.RECORD).write_text(json.dumps(self.record, indent=1) + "\n", encoding="utf-8")

    def _write_text_encoder(self, checkpoint: Checkpoint, folder: Path, text: Text) -> dict[str, Any]:
        """The text encoders that were loaded for it, by their folders."""
        self.report(f"text encoder of {checkpoint.id}")
        models = [checkpoint.load(part) for part in checkpoint.text_encoders]
        skipping = {"clip_skip": checkpoint.clip_skip} if checkpoint.clip_skip else {}
        encoder = checkpoint.family.join(*models, **skipping)
        round_weights(encoder, self.options.storage)
        generator = _generator()
        ids = {
            graph_names.input_ids(index): torch.randint(
                0, model.config.vocab_size, (2, rule.max_length), generator=generator
            )
            for index, (rule, model) in enumerate(zip(text.tokenizers, models, strict=True))
        }
        self._write_component(encoder, ids, folder / graph_names.TEXT_ENCODER, LIMIT)
        return dict(zip(checkpoint.text_encoders, models, strict=True))

    def _write_vae(self) -> dict[str, Any]:
        """The VAE that was loaded for it, by its folder."""
        self.report("VAE")
        vae = self.model.load("vae")
        round_weights(vae, self.options.storage)
        generator = _generator()
        latents = torch.randn(2, vae.config.latent_channels, *self.model.latent_shape()[1:], generator=generator)
        image = torch.randn(2, vae.config.in_channels, *self.model.image_size(), generator=generator)
        self._write_component(Decoder(vae), {"latents": latents}, self.folder / graph_names.VAE_DECODER, PICTURE_LIMIT)
        self._write_component(Encoder(vae), {"image": image}, self.folder / graph_names.VAE_ENCODER, PICTURE_LIMIT)
        return {"vae": vae}

    def _draw_reference(self, parts: dict[str, Any]) -> None:
        drawing = self._drawing(parts[self.model.family.denoiser], self.defaults.guidance_scale)
        self.report(f"drawn by diffusers and, at the end, by the bundle: {drawing}")
        self.reference = draw_reference(self.model, parts, drawing, self.options.precision)

    def _draw_baseline_reference(self, parts: dict[str, Any]) -> None:
        assert self.baseline is not None
        drawing = self._drawing(parts[self.model.family.denoiser], UNGUIDED)
        self.report(f"drawn by diffusers and, at the end, by the baseline: {drawing}")
        self.baseline_reference = draw_baseline_reference(
            self.model, self.baseline, parts, drawing, self.options.precision
        )

    def _drawing(self, unet: torch.nn.Module, guidance_scale: float) -> Drawing:
        prompt = " ".join([PROMPTS[0], *(embedding.token for embedding in self.model.embeddings)])
        sampler = samplers_for(self.model.schedule())[0]
        return Drawing(prompt, steps_for(unet), guidance_scale, sampler=sampler)

    def _write_component(self, module: Component, example: dict[str, torch.Tensor], file: Path, limit: float) -> None:
        save_graph(trace_component(module, example), file, self.options.storage)
        self.rows += compare(file, component_case(module, example), limit, self._prefix(file.parent))

    def _write_denoiser(
        self, checkpoint: Checkpoint, folder: Path, text: Text, *, beside: dict[str, Any]
    ) -> tuple[int, int, int]:
        """Write the graphs of a denoiser, all of the model's, and what it draws with the parts `beside` it. They are
        taken out, for their memory is needed."""
        guided = checkpoint is self.model
        is_unet, network = checkpoint.family.build is None, checkpoint.family.denoiser_title
        cuts = CUTS if is_unet else TRANSFORMER_CUTS
        unet = checkpoint.load(checkpoint.family.denoiser)
        text_shape = text.length, self.model.text_width()
        latent_shape = checkpoint.latent_shape()
        denoiser = self._denoiser(checkpoint, unet, text_shape)
        size = sum(parameter.numel() for parameter in unet.parameters()) / 1e6
        round_weights(unet, self.options.storage)
        draw = self._draw_reference if guided else self._draw_baseline_reference
        draw({**beside, checkpoint.family.denoiser: unet})
        beside.clear()
        gc.collect()
        self.report(f"{network} of {checkpoint.id}, {size:.1f} M parameters: tracing")
        traced = trace_denoiser(denoiser, latent_shape, text_shape)
        self.report(f"{network} of {checkpoint.id}: derivative graph for {self.options.tangents} tangents")
        graphs = denoiser_graphs(
            traced,
            tangents=self.options.tangents,
            precision=self.options.precision,
            guided=guided,
            cuts=cuts,
            observed=is_unet,
            unguided=guided and is_usually_unguided(self.model, self.defaults),
        )
        nodes = ", ".join(f"{name} {_node_count(graph)} nodes" for name, graph in graphs.items())
        self.report(f"{network} of {checkpoint.id}: {nodes}; writing and comparing with torch")
        save_sharing_weights(graphs, folder, self.options.storage)
        oracle = DenoiserOracle(denoiser, latent_shape, text_shape)
        cases = {graph_names.measure(kind): oracle.measure(self.options.tangents, cut) for kind, cut in cuts.items()}
        if guided:
            if not is_unet:
                self.report(_WITHOUT_LEVELS)
            self.gives = given_by(graphs)
            more = {
                graph_names.STEP: oracle.step,
                graph_names.UNGUIDED: oracle.unguided_step,
                graph_names.OBSERVE: oracle.observe,
                graph_names.CONDITION: oracle.condition,
            }
            cases |= {name: case() for name, case in more.items() if name in graphs}
        scores = {name: unsliced_scores(graph) for name, graph in graphs.items()}
        # A runtime needs the memory that torch's weights take.
        del unet, denoiser, traced, graphs, oracle
        gc.collect()
        if guided:
            self.passes = forward_passes(folder)
            costs = ", ".join(f"{kind} {passes:.1f}" for kind, passes in self.passes.items())
            self.report(f"{network} of {checkpoint.id}: forward passes that a call costs, by its operations: {costs}")
        for name, largest in scores.items():
            case = cases[graph_names.whole(name)]
            self.rows += compare_denoiser(
                folder / name, case, self.options.precision, self._prefix(folder), scores=largest
            )
        return latent_shape

    def _denoiser(
        self, checkpoint: Checkpoint, network: Any, text_shape: tuple[int, int]
    ) -> EpsDenoiser | FlowDenoiser:
        if checkpoint.family.build is not None:
            return checkpoint.family.build(network, checkpoint.latent_shape(), text_shape)
        image_size = self.model.image_size() if checkpoint.family.told_size else None
        scheduled = checkpoint if checkpoint.has("scheduler") else self.model
        edm = scheduled.preconditioning()
        return EpsDenoiser(network, scheduled.prediction_type(), image_size, scored=checkpoint.family.scored, edm=edm)

    def _prefix(self, folder: Path) -> str:
        return "" if folder == self.folder else f"{folder.name}/"

    def _write_baseline(self, text: Text, latent_shape: tuple[int, int, int]) -> dict[str, object]:
        assert self.baseline is not None
        folder = self.folder / graph_names.BASELINE
        folder.mkdir()
        own_encoder = any(
            self.baseline.has(part) and not same_weights(self.baseline, self.model, part)
            for part in self.model.text_encoders
        )
        beside = {"vae": self.model.load("vae")}
        if own_encoder:
            beside |= self._write_text_encoder(self.baseline, folder, text)
        else:
            beside |= {part: self.model.load(part) for part in self.model.text_encoders}
            for module in beside.values():
                round_weights(module, self.options.storage)
        self._write_denoiser(self.baseline, folder, text, beside=beside)
        return {**identity(self.baseline), "text_encoder": own_encoder}


def identity(checkpoint: Checkpoint) -> dict[str, object]:
    """What `bundle.json` says of a checkpoint."""
    record: dict[str, object] = {"id": checkpoint.id, "revision": checkpoint.revision, "digest": checkpoint.digest}
    if checkpoint.adapters:
        record["adapters"] = [
            {"file": adapter.file, "digest": adapter.digest, "scale": adapter.scale} for adapter in checkpoint.adapters
        ]
    if checkpoint.embeddings:
        record["embeddings"] = [
            {"file": each.file, "digest": each.digest, "token": each.token} for each in checkpoint.embeddings
        ]
    return record


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _node_count(model: ir.Model) -> int:
    return sum(1 for _ in model.graph)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
