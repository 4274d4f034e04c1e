"""States of a bench's images, and the diagonals that each cut of the derivative gives there, kept in a folder.

States are those of 50 steps of the bench's own pipeline, by the bundle that memscan makes of it. A diagonal is
Hutchinson's estimate with fixed probes, as in a scan.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from benchmarks.cut_benches import Bench
from memscan.export.assemble import ExportOptions
from memscan.export.autodiff.cut import Cut
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.flops import graph_flops
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.storage import save_sharing_weights
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.passes.written_out_rms_norm import WriteOutRmsNorm
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.graph_names import LEVEL, STEP, measure
from memscan.scanner.metrics.hutchinson import probe_groups
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.model.text import Conditioning, PromptEncoder, Tokenizer
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.sampling.samplers import moves, sampler_steps, sampler_timesteps, samplers_for
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Execution, Probes
from testbed.scanning import export

Array = NDArray[np.float32]
GROUP, BATCH, INFERENCE_STEPS = 8, 8, 50
TEXT = "encoder_hidden_states"
CONDITIONS = ("prompt", "none", "baseline")


class State(NamedTuple):
    """x_t [N, C, h, w] of all images at a noise level."""

    level: Level
    x: Array


class Study:
    """The diagonals of one bench at some timesteps; what `work` holds already is not computed again."""

    def __init__(self, bench: Bench, work: Path, timesteps: Sequence[int]) -> None:
        self._work = work / bench.name
        self._work.mkdir(parents=True, exist_ok=True)
        self._bundle = self._exported(bench)
        self._sessions: dict[tuple[str, str], onnxruntime.InferenceSession] = {}
        self.states, self.texts = self._drawn(bench, timesteps)
        text_shape = self.texts["prompt"][TEXT].shape[1:]
        self._traced = {
            "prompt": _trace(bench.pipeline, text_shape),
            "baseline": _trace(bench.baseline, text_shape),
        }

    def sigma(self, timestep: int) -> float:
        return self.states[timestep].level.sigma

    def passes(self, cut: Cut) -> float:
        """What GROUP tangents of the derivative with `cut` cost, in forward passes, by its operations."""
        with tempfile.TemporaryDirectory() as scratch:
            folder, name = Path(scratch), measure("exact")
            save_sharing_weights({name: _measuring(self._traced["prompt"], cut)}, folder)
            return 2 * graph_flops(folder / name, batch=1) / graph_flops(self._bundle.path / STEP, batch=1)

    def diagonals(self, name: str, cut: Cut, probes: Probes, timesteps: Sequence[int]) -> dict[str, Array]:
        """Estimates of diag(J) by the derivative with `cut`, which is called `name`: condition -> [T, N, C, h, w]."""
        found = [self._at(name, cut, probes, timestep) for timestep in timesteps]
        return {condition: np.stack([one[condition] for one in found]) for condition in CONDITIONS}

    def _at(self, name: str, cut: Cut, probes: Probes, timestep: int) -> dict[str, Array]:
        key = f"{name} {probes.kind} {probes.count} t{timestep}"
        file = self._work / f"{re.sub('[^a-z0-9]+', '-', key)}.npz"
        if not file.exists():
            found = {condition: self._diagonal(condition, name, cut, probes, timestep) for condition in CONDITIONS}
            np.savez(file.with_suffix(".part.npz"), **found)
            file.with_suffix(".part.npz").rename(file)
        with np.load(file) as stored:
            return {condition: stored[condition] for condition in CONDITIONS}

    def _diagonal(self, condition: str, name: str, cut: Cut, probes: Probes, timestep: int) -> Array:
        session = self._session("baseline" if condition == "baseline" else "prompt", name, cut)
        groups = probe_groups(make_probes(probes, self._bundle.latent_shape), GROUP)
        level, states = self.states[timestep]
        total, texts = np.zeros_like(states), self.texts[condition]
        names = {value.name for value in session.get_inputs()}
        for first in range(0, len(states), BATCH):
            x = states[first : first + BATCH]
            of_level = {one: np.full(len(x), getattr(level, one), np.float32) for one in LEVEL}
            feed = {"sample": x, **{name: of[first : first + BATCH] for name, of in texts.items()}, **of_level}
            for group in groups:
                tangents = np.repeat(group[:, None], len(x), axis=1)
                known = {one: value for one, value in {**feed, "tangents": tangents}.items() if one in names}
                (answer,) = session.run(["v_dot_jv"], known)
                total[first : first + BATCH] += answer
        return total / np.float32(probes.count)

    def _session(self, model: str, name: str, cut: Cut) -> onnxruntime.InferenceSession:
        """Of a cut's measuring graph; those of the last cut are kept."""
        if (model, name) not in self._sessions:
            self._sessions = {key: one for key, one in self._sessions.items() if key[1] == name}
            self._sessions[model, name] = _open(_measuring(self._traced[model], cut))
        return self._sessions[model, name]

    def _exported(self, bench: Bench) -> Bundle:
        if bench.name == "testbed":
            return open_bundle(BUNDLE)
        folder = self._work / "bundle"
        if not folder.exists():
            export(bench.pipeline, bench.baseline, folder, ExportOptions(certify=()))
        return open_bundle(folder)

    def _drawn(self, bench: Bench, timesteps: Sequence[int]) -> tuple[dict[int, State], dict[str, dict[str, Array]]]:
        """The states by timestep, and of every condition its encodings [N, ...] by the denoiser's input."""
        bundle = self._bundle
        graphs = open_graphs(bundle, Execution(threads=1, provider="cpu"))
        tokenizer, encode = Tokenizer(bundle), PromptEncoder(bundle, graphs)
        encoded = [encode(tokenizer(image.prompt)) for image in bench.images]
        none = encode.unconditional(tokenizer)
        texts = {
            "prompt": _stacked([text.cond for text in encoded]),
            "none": _stacked([none] * len(encoded)),
            "baseline": _stacked([text.baseline for text in encoded]),
        }
        sampler = samplers_for(bundle.schedule)[0]
        own = sampler_timesteps(bundle.schedule, sampler, INFERENCE_STEPS)
        moved = moves(own, timesteps, bundle.schedule)
        noise = initial_latents([one.seed for one in bench.images], bundle.latent_shape)
        sample, denoised = graphs.upload(noise), graphs.upload(np.zeros_like(noise))
        cond, uncond = ({name: graphs.upload(of) for name, of in texts[one].items()} for one in ("prompt", "none"))
        states = {}
        for step in sampler_steps(bundle.schedule, sampler, INFERENCE_STEPS, moved):
            if round(step.level.timestep) in timesteps:
                states[round(step.level.timestep)] = State(step.level, graphs.download(sample).copy())
            answer = graphs.step(sample, step, cond, uncond, denoised, bench.guidance_scale)
            sample, denoised = answer.next_sample, answer.denoised
        return states, texts


def _stacked(encodings: Sequence[Conditioning]) -> dict[str, Array]:
    return {name: np.stack([encoding[name] for encoding in encodings]) for name in encodings[0]}


def _trace(pipeline: Path, text_shape: tuple[int, int]) -> ir.Model:
    with quiet_libraries():
        checkpoint = find_checkpoint(str(pipeline))
        network, latent_shape = checkpoint.load(checkpoint.family.denoiser), checkpoint.latent_shape()
        build = checkpoint.family.build
        denoiser = build(network, latent_shape, text_shape) if build else EpsDenoiser(network, "epsilon")
        return trace_denoiser(denoiser, latent_shape, text_shape)


def _measuring(traced: ir.Model, cut: Cut) -> ir.Model:
    model = measure_graph(traced, GROUP, cut)
    WriteOutRmsNorm()(model)
    return model


def _open(model: ir.Model) -> onnxruntime.InferenceSession:
    SliceAttention()(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])
