"""The scan of a batch: prepared samples in, maps out.

A sample's result depends on its prompt, seed and image alone: its noise comes from its own seed, the probes are the
same for all, prompts are encoded one by one; a batch only shares calls. An image that a sample brings is not sampled
but noised to each measured level, x_t = alpha x_0 + sigma noise(seed), and joins the batch there.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import OutOfMemory, UsageError
from memscan.scanner.model.engine import Engine
from memscan.scanner.model.text import Conditioning, PromptEncoder
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Scanned, StepMaps
from memscan.scanner.sampling.samplers import sampler_steps
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.scan.batch_ceiling import BatchCeiling
from memscan.scanner.scan.images import to_model_range, to_pixels
from memscan.scanner.scan.meter import Meter
from memscan.scanner.scan.prepare import Prepared, Preparer
from memscan.scanner.scan.trajectory import trajectory
from memscan.scanner.settings import Measurement

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class Scanner:
    """Scans the samples of a run.

    Args:
        measurement: its `steps` are indices of the sampler's timesteps, ascending.
        ceiling: how many samples share each call of a graph.

    Raises:
        UsageError: probes, steps or a number of steps that do not suit the bundle.
        BundleError: `tokenizer.json` is malformed.
    """

    def __init__(self, bundle: Bundle, engine: Engine, measurement: Measurement, ceiling: BatchCeiling) -> None:
        self._bundle = bundle
        self._engine = engine
        self._measurement = measurement
        self._ceiling = ceiling
        self._steps = sampler_steps(
            bundle.schedule, measurement.sampler, measurement.num_inference_steps, measurement.moved
        )
        if not all(0 <= step < len(self._steps) for step in measurement.steps):
            raise UsageError(f"steps {measurement.steps}: the sampler's indices are 0 to {len(self._steps) - 1}")
        self._meter = Meter(bundle, engine, measurement.probes)
        self.prepare = Preparer(bundle, measurement.stream)
        self._encode = PromptEncoder(bundle, engine)
        # Of two sizes at most: where some images of a batch are given, fewer are sampled than measured.
        self._uncond = functools.lru_cache(2)(self._upload_uncond)
        # Without pictures a trajectory ends at the last state to be measured.
        self._last_state = len(self._steps) if measurement.save_images else max(measurement.steps)

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
        texts = [self._encode(item.tokens) for item in batch]
        noise = np.stack([item.noise for item in batch])
        drawn = np.array([item.image is None for item in batch])
        cond = self._stack([text.cond for text in texts])
        shared = all(text.baseline is text.cond for text in texts)
        baseline_cond = cond if shared else self._stack([text.baseline for text in texts])
        x_0 = self._encode_given(batch)
        if drawn.all():
            states = self._states(noise, cond)
        else:
            sampled = [text.cond for text, is_drawn in zip(texts, drawn, strict=True) if is_drawn]
            states = self._states(noise[drawn], self._stack(sampled))

        measured: list[StepMaps] = []
        for index, state in enumerate(itertools.islice(states, self._last_state + 1)):
            if index in self._measurement.steps:
                step = self._steps[index]
                x = state if drawn.all() else self._joined(step.level, state, noise, drawn, x_0)
                uncond = self._uncond(len(batch))
                measured.append(self._meter.measure(x, step.level, cond, uncond, baseline_cond))
        return Scanned(
            samples=tuple(item.sample for item in batch),
            truncated=tuple(item.tokens.truncated for item in batch),
            steps=tuple(measured),
            images=self._images(batch, state) if self._measurement.save_images else None,
        )

    def _states(self, noise: Array, cond: Mapping[str, Value]) -> Iterator[Value]:
        """The trajectory of those images of a batch that are sampled; `noise` and `cond` are theirs."""
        uncond = self._uncond(len(noise))
        return trajectory(self._engine, self._steps, noise, cond, uncond, self._measurement.guidance_scale)

    def _joined(self, level: Level, state: Value, noise: Array, drawn: NDArray[np.bool_], x_0: Array) -> Value:
        """Sampled and given images of a batch in one array, at a noise level."""
        x = np.empty_like(noise)
        x[drawn] = self._engine.download(state)
        x[~drawn] = level.alpha * x_0 + level.sigma * noise[~drawn]
        return self._engine.upload(x)

    def _stack(self, texts: Sequence[Conditioning]) -> dict[str, Value]:
        names = texts[0] if texts else ()
        return {name: self._engine.upload(np.stack([text[name] for text in texts])) for name in names}

    def _upload_uncond(self, count: int) -> dict[str, Value]:
        return self._stack([self._encode.unconditional(self.prepare.tokenizer)] * count)

    def _encode_given(self, batch: Sequence[Prepared]) -> Array:
        images = [to_model_range(item.image) for item in batch if item.image is not None]
        if not images:
            return np.empty((0, *self._bundle.latent_shape), np.float32)
        return self._engine.encode_image(np.stack(images))

    def _images(self, batch: Sequence[Prepared], latents: Value) -> tuple[Pixels, ...]:
        decoded = iter(self._engine.decode(latents) if latents.shape[0] else ())
        return tuple(to_pixels(next(decoded)) if item.image is None else item.image for item in batch)
