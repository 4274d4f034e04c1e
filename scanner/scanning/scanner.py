"""The scan of a batch: prepared samples in, maps out.

A sample's result depends on its prompt, seed and image alone: its noise comes from its own seed, the probes are the
same for all, prompts are encoded one by one; a batch only shares calls.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle, Condition
from memscan.scanner.errors import OutOfMemory, UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.plan import plan_calls
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.model.padding import padding_of, without_padding
from memscan.scanner.model.text import Conditioning, Encoded, PromptEncoder
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import SAMPLED, Scanned
from memscan.scanner.sampling.samplers import sampler_steps, starting_scale
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.channels import shared_inputs
from memscan.scanner.scanning.first_state import FirstState
from memscan.scanner.scanning.meter import Meter, Texts
from memscan.scanner.scanning.path import Path
from memscan.scanner.scanning.prepare import Prepared, Preparer
from memscan.scanner.scanning.sources import Given, Mixed, Sampled, Source
from memscan.scanner.scanning.trajectory import Trajectory
from memscan.scanner.settings import Measurement

Array = NDArray[np.float32]


class Scanner:
    """Scans the samples of a run.

    Args:
        measurement: its `steps` are indices of the sampler's timesteps, ascending.
        ceiling: how many samples share each call of a graph.

    Raises:
        UsageError: probes, steps or a number of steps that do not suit the bundle.
        BundleError: `tokenizer.json` is malformed.
    """

    def __init__(self, bundle: Bundle, graphs: Graphs, measurement: Measurement, ceiling: BatchCeiling) -> None:
        self._bundle = bundle
        self._graphs = graphs
        self._measurement = measurement
        self._ceiling = ceiling
        self._steps = sampler_steps(
            bundle.schedule, measurement.sampler, measurement.num_inference_steps, measurement.moved
        )
        scale = starting_scale(bundle.schedule, measurement.sampler, self._steps[0])
        self._starting_scale = np.float32(scale)
        self._measured = [step.index for step in measurement.steps]
        if not all(0 <= index < len(self._steps) for index in self._measured):
            raise UsageError(f"steps {self._measured}: the sampler's indices are 0 to {len(self._steps) - 1}")
        metrics = [METRICS[name] for name in measurement.metrics]
        self._path_metrics = [metric for metric in metrics if metric.when != "measured"]
        self._references = {reference.metric: reference for reference in measurement.references}
        self._calls = plan_calls(
            metrics,
            bundle.gives,
            measurement.derivative,
            first_measured=0 in self._measured,
            unguided=bundle.is_unguided(measurement.guidance_scale),
        )
        self._first_state = FirstState(bundle, graphs, measurement, self._calls, self._steps[0].level)
        self._meter = Meter(bundle, graphs, measurement, self._calls)
        self.prepare = Preparer(bundle, measurement)
        self._encode = PromptEncoder(bundle, graphs)
        # Of two sizes at most: where some images of a batch are given, fewer are sampled than measured.
        self._uncond = functools.lru_cache(2)(self._upload_uncond)

    @property
    def calls(self) -> int:
        """How often the denoiser is called for one batch, at most: with given images it is fewer."""
        last = len(self._steps) if self._measurement.save_images else self._measured[-1]
        taken = last - sum(index < last for index in self._measured) * self._calls.give_guidance
        groups = -(-self._measurement.probes.count // self._bundle.tangents_per_call)
        state = bool(self._calls.guided) + (len(self._calls.measured) + len(self._calls.denoised)) * groups
        return max(1, taken + len(self._measured) * state)

    def scan(self, prepared: Sequence[Prepared]) -> Iterator[Scanned]:
        """Scan samples, in their order, as many at once as fit into memory.

        Raises:
            EnvironmentFailed: the device failed, or has too little memory for a single image.
        """
        while prepared:
            batch = prepared[: self._ceiling.size]
            try:
                scanned = self._scan(batch)
            except OutOfMemory as error:
                self._uncond.cache_clear()
                self._meter.release()
                self._ceiling.shrink(len(batch), error)
                continue
            prepared = prepared[len(batch) :]
            yield scanned

    def _scan(self, batch: Sequence[Prepared]) -> Scanned:
        encoded = [self._encode(item.tokens) for item in batch]
        sampled = np.array([item.image is None for item in batch])
        shown = [item.shown for item in batch]
        shared = shared_inputs(self._bundle, self._graphs, shown, self._measurement.guidance_scale)
        texts = self._texts(batch, encoded, shared)
        guiding = self._guiding(encoded, texts, sampled, shared)
        noise = np.stack([item.noise for item in batch])
        first = noise[sampled] * self._starting_scale
        at_first = functools.partial(self._first_state.answers, first, *guiding)
        path = Path(self._path_metrics, self._calls, sampled, self._references, at_first)
        source = self._source(batch, noise, first, guiding, sampled, path)
        measured = []
        for index in self._measured:
            maps, guidance = self._meter.measure(source.at(index), self._steps[index], texts, path)
            measured.append(maps)
            if guidance is not None:
                source.measured(guidance)
        return Scanned(
            samples=tuple(item.sample for item in batch),
            truncated=tuple(item.tokens.truncated for item in batch),
            steps=tuple(measured),
            sources=tuple(SAMPLED if item.image is None else item.image.source for item in batch),
            images=tuple(source.pictures()) if self._measurement.save_images else None,
        )

    def _source(
        self,
        batch: Sequence[Prepared],
        noise: NDArray[np.float32],
        first: NDArray[np.float32],
        guiding: tuple[Mapping[str, Value], Mapping[str, Value]],
        sampled: NDArray[np.bool_],
        path: Path,
    ) -> Source:
        images = [item.image.pixels for item in batch if item.image is not None]
        if not sampled.any():
            return Given(self._graphs, self._steps, images, noise)
        trajectory = Trajectory(
            self._graphs,
            self._steps,
            first,
            *guiding,
            self._bundle.takes.sampling_guidance(self._measurement.applied_guidance),
            self._calls,
            path,
            watched=max(self._measured),
        )
        drawn = Sampled(self._graphs, trajectory, len(self._steps))
        if not images:
            return drawn
        return Mixed(self._graphs, drawn, Given(self._graphs, self._steps, images, noise[~sampled]), sampled)

    def _guiding(
        self, encoded: Sequence[Encoded], texts: Texts, sampled: NDArray[np.bool_], shared: Mapping[str, Array]
    ) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
        """What the denoiser takes of the images that are sampled, and of no prompt for each of them."""
        if sampled.all() or not sampled.any():
            return texts["prompt"], texts["none"]
        of_sampled = [text.cond for text, is_sampled in zip(encoded, sampled, strict=True) if is_sampled]
        of_both = self._uploaded({name: values[sampled] for name, values in shared.items()})
        return {**self._stack(of_sampled), **of_both}, {**self._uncond(len(of_sampled)), **of_both}

    def _texts(self, batch: Sequence[Prepared], encoded: Sequence[Encoded], shared: Mapping[str, Array]) -> Texts:
        """What the denoiser takes beside latents and noise level, given each condition."""
        cond = self._stack([text.cond for text in encoded])
        one_encoder = all(text.baseline is text.cond for text in encoded)
        baseline = cond if one_encoder else self._stack([text.baseline for text in encoded])
        texts: dict[Condition, dict[str, Value]] = {
            "prompt": cond,
            "none": self._uncond(len(encoded)),
            "baseline": baseline,
        }
        if "padded" in self._calls.conditions:
            none = self._encode.unconditional(self.prepare.tokenizer)
            rule = self._bundle.text
            padded = [
                without_padding(text.cond, none, padding_of(item.tokens, rule))
                for item, text in zip(batch, encoded, strict=True)
            ]
            texts["padded"] = self._stack(padded)
        of_all = self._uploaded(shared)
        return {condition: {**text, **of_all} for condition, text in texts.items()}

    def _stack(self, texts: Sequence[Conditioning]) -> dict[str, Value]:
        return {name: self._graphs.upload(np.stack([text[name] for text in texts])) for name in texts[0]}

    def _uploaded(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        return {name: self._graphs.upload(values) for name, values in arrays.items()}

    def _upload_uncond(self, count: int) -> dict[str, Value]:
        return self._stack([self._encode.unconditional(self.prepare.tokenizer)] * count)
