"""States of a bench's images, and the diagonals that each cut of the derivative gives there, kept in a folder.

States are those of 50 DDIM steps of the bench's own pipeline, by the bundle that memscan makes of it. A diagonal is
Hutchinson's estimate with Hadamard probes; with 64 of them it is within 1% of the exact one (DESIGN: 0.8%).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from benchmarks.cut_benches import Bench
from memscan.export.assemble import ExportOptions
from memscan.export.autodiff.cut import Cut
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.metrics.hutchinson import probe_groups
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.model.text import PromptEncoder, Tokenizer
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.sampling.samplers import sampler_steps
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Execution, Probes
from testbed.scanning import export

Array = NDArray[np.float32]
GROUP, BATCH, STEPS = 8, 8, 50
CONDITIONS = ("prompt", "none", "baseline")


@dataclasses.dataclass(frozen=True)
class States:
    """`x` [T, N, C, h, w] at `levels`, and the text encodings [N, S, D] of every condition."""

    levels: tuple[Level, ...]
    x: Array
    texts: dict[str, Array]


class Study:
    """The diagonals of one bench at some timesteps; what `work` holds already is not computed again."""

    def __init__(self, bench: Bench, work: Path, timesteps: Sequence[int]) -> None:
        self._work = work / bench.name
        self._work.mkdir(parents=True, exist_ok=True)
        self._bundle = self._exported(bench)
        self._traced = {"prompt": _trace(bench.pipeline), "baseline": _trace(bench.baseline)}
        self.states = self._drawn(bench, timesteps)

    def diagonals(self, name: str, cut: Cut, probes: Probes) -> dict[str, Array]:
        """Estimates of diag(J) by the derivative with `cut`: condition -> [T, N, C, h, w]."""
        file = self._work / f"{name}-{probes.kind}-{probes.count}-{probes.seed}.npz"
        if not file.exists():
            np.savez(file, **{condition: self._diagonal(condition, cut, probes) for condition in CONDITIONS})
        with np.load(file) as stored:
            return {condition: stored[condition] for condition in CONDITIONS}

    def _diagonal(self, condition: str, cut: Cut, probes: Probes) -> Array:
        traced = self._traced["baseline" if condition == "baseline" else "prompt"]
        session = _session(measure_graph(traced, GROUP, cut))
        groups = probe_groups(make_probes(probes, self._bundle.latent_shape), GROUP)
        total = np.zeros_like(self.states.x)
        texts = self.states.texts[condition]
        for index, level in enumerate(self.states.levels):
            for first in range(0, len(texts), BATCH):
                x, text = self.states.x[index, first : first + BATCH], texts[first : first + BATCH]
                feed = {"sample": x, "encoder_hidden_states": text} | {
                    name: np.full(len(x), getattr(level, name), np.float32) for name in ("timestep", "alpha", "sigma")
                }
                feed = {value.name: feed[value.name] for value in session.get_inputs() if value.name in feed}
                for group in groups:
                    tangents = np.repeat(group[:, None], len(x), axis=1)
                    (answer,) = session.run(["v_dot_jv"], {**feed, "tangents": tangents})
                    total[index, first : first + BATCH] += answer
        return total / np.float32(probes.count)

    def _exported(self, bench: Bench) -> Bundle:
        if bench.name == "testbed":
            return open_bundle(__import__("memscan.scanner.embedded").scanner.embedded.BUNDLE)
        folder = self._work / "bundle"
        if not folder.exists():
            export(bench.pipeline, bench.baseline, folder, ExportOptions())
        return open_bundle(folder)

    def _drawn(self, bench: Bench, timesteps: Sequence[int]) -> States:
        bundle = self._bundle
        steps = sampler_steps(bundle.schedule, "ddim", STEPS)
        graphs = open_graphs(bundle, Execution(threads=1, provider="cpu"))
        tokenizer, encode = Tokenizer(bundle), PromptEncoder(bundle, graphs)
        encoded = [encode(tokenizer(image.prompt)) for image in bench.images]
        name = "encoder_hidden_states"
        none = encode.unconditional(tokenizer)[name]
        texts = {
            "prompt": np.stack([text.cond[name] for text in encoded]),
            "none": np.stack([none] * len(encoded)),
            "baseline": np.stack([text.baseline[name] for text in encoded]),
        }
        noise = [
            initial_latents(image.seed, bundle.latent_shape, "cpu", np.random.RandomState()) for image in bench.images
        ]
        sample = graphs.upload(np.stack(noise))
        denoised = graphs.upload(np.zeros_like(np.stack(noise)))
        cond, uncond = ({name: graphs.upload(texts[one])} for one in ("prompt", "none"))
        found = {}
        for step in steps:
            if step.level.timestep in timesteps:
                found[step.level.timestep] = step.level, graphs.download(sample).copy()
            answer = graphs.step(sample, step, cond, uncond, denoised, bench.guidance_scale)
            sample, denoised = answer.next_sample, answer.denoised
        levels, x = zip(*(found[timestep] for timestep in timesteps), strict=True)
        return States(levels, np.stack(x), texts)


def _trace(pipeline: Path) -> ir.Model:
    with quiet_libraries():
        checkpoint = find_checkpoint(str(pipeline), parts=("unet",))
        unet = checkpoint.load("unet")
        size = unet.config.sample_size
        return trace_denoiser(EpsDenoiser(unet, "epsilon"), (4, size, size), (16, unet.config.cross_attention_dim))


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    SliceAttention()(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])
