"""The scan: samples in, maps out, batch by batch and in order.

A sample's result depends on its prompt, seed and image alone: its noise comes from its own seed, the probes are the
same for all, prompts are encoded one by one; a batch only shares calls. An image that a sample brings is not sampled
but noised to each measured level, x_t = alpha x_0 + sigma noise(seed), and joins the batch there.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.engine import Engine
from memscan.scanner.errors import RowError, UsageError
from memscan.scanner.images import load_image, to_model_range, to_pixels
from memscan.scanner.meter import Meter
from memscan.scanner.noise import initial_latents
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samplers import sampler_steps
from memscan.scanner.samples import Rejected, Sample, Scanned, StepMaps
from memscan.scanner.schedule import SolverStep
from memscan.scanner.settings import Measurement
from memscan.scanner.text import Conditioning, Encoded, PromptEncoder
from memscan.scanner.trajectory import trajectory

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def scan(
    bundle: Bundle, engine: Engine, measurement: Measurement, samples: Iterable[Sample], batch_size: int
) -> Iterator[Scanned | Rejected]:
    """Scan samples, lazily: one result for each, in order.

    Args:
        measurement: its `steps` are indices of the sampler's timesteps, ascending.
        batch_size: how many samples share each call of a graph.

    Yields:
        `Scanned`, or `Rejected` for a sample whose seed, prompt or image cannot be used.

    Raises:
        UsageError: probes, steps or a number of steps that do not suit the bundle.
        EnvironmentFailed: the device failed, or has too little memory.
    """
    scanner = _Scanner(bundle, engine, measurement)
    remaining = iter(samples)
    while batch := list(itertools.islice(remaining, batch_size)):
        yield from scanner.scan(batch)


class _Prepared(NamedTuple):
    sample: Sample
    text: Encoded
    noise: Array  # [C, h, w]
    image: Pixels | None  # [H, W, 3], where the sample brings its own


class _Scanner:
    def __init__(self, bundle: Bundle, engine: Engine, measurement: Measurement) -> None:
        self._bundle = bundle
        self._engine = engine
        self._measurement = measurement
        self._steps = sampler_steps(
            bundle.schedule, measurement.sampler, measurement.num_inference_steps, measurement.moved
        )
        if not all(0 <= step < len(self._steps) for step in measurement.steps):
            raise UsageError(f"steps {measurement.steps}: the sampler's indices are 0 to {len(self._steps) - 1}")
        self._meter = Meter(bundle, engine, measurement.probes)
        self._encode = PromptEncoder(bundle, engine)
        self._uncond = self._encode.unconditional()
        # Without pictures a trajectory ends at the last state to be measured.
        self._last_state = len(self._steps) if measurement.save_images else max(measurement.steps)

    def scan(self, samples: Sequence[Sample]) -> Iterator[Scanned | Rejected]:
        prepared = [self._prepare(sample) for sample in samples]
        scanned = self._scan([item for item in prepared if isinstance(item, _Prepared)])
        for item in prepared:
            yield item if isinstance(item, Rejected) else next(scanned)

    def _prepare(self, sample: Sample) -> _Prepared | Rejected:
        try:
            noise = initial_latents(sample.seed, self._bundle.latent_shape, self._measurement.stream)
            image = None if sample.image is None else load_image(sample.image, self._bundle.image_size)
            return _Prepared(sample, self._encode(sample.prompt), noise, image)
        except RowError as error:
            return Rejected(sample.row, sample.seed, sample.prompt, str(error), sample.id, sample.carried)

    def _scan(self, batch: list[_Prepared]) -> Iterator[Scanned]:
        if not batch:
            return
        noise = np.stack([item.noise for item in batch])
        drawn = np.array([item.image is None for item in batch])
        cond = self._stack([item.text.cond for item in batch])
        baseline_cond = self._stack([item.text.baseline for item in batch])
        uncond = self._stack([self._uncond] * len(batch))
        x_0 = self._encode_given(batch)

        measured: list[list[StepMaps]] = []
        for index, state in enumerate(itertools.islice(self._states(batch, noise[drawn]), self._last_state + 1)):
            if index in self._measurement.steps:
                step = self._steps[index]
                x = state if drawn.all() else self._joined(step, state, noise, drawn, x_0)
                measured.append(self._meter.measure(x, step.timestep, step.sigma, cond, uncond, baseline_cond))

        images = self._images(batch, state) if self._measurement.save_images else [None] * len(batch)
        for i, (item, image) in enumerate(zip(batch, images, strict=True)):
            yield Scanned(item.sample, item.text.truncated, tuple(maps[i] for maps in measured), image)

    def _states(self, batch: list[_Prepared], noise: Array) -> Iterator[Value]:
        """The trajectory of those images of a batch that are sampled; `noise` is theirs."""
        texts = [item.text.cond for item in batch if item.image is None]
        cond, uncond = self._stack(texts), self._stack([self._uncond] * len(texts))
        return trajectory(self._engine, self._steps, noise, cond, uncond, self._measurement.guidance_scale)

    def _joined(self, step: SolverStep, state: Value, noise: Array, drawn: NDArray[np.bool_], x_0: Array) -> Value:
        """Sampled and given images of a batch in one array, at the noise level of `step`."""
        x = np.empty_like(noise)
        x[drawn] = self._engine.download(state)
        x[~drawn] = step.alpha * x_0 + step.sigma * noise[~drawn]
        return self._engine.upload(x)

    def _stack(self, texts: Sequence[Conditioning]) -> dict[str, Value]:
        names = texts[0] if texts else ()
        return {name: self._engine.upload(np.stack([text[name] for text in texts])) for name in names}

    def _encode_given(self, batch: list[_Prepared]) -> Array:
        images = [to_model_range(item.image) for item in batch if item.image is not None]
        if not images:
            return np.empty((0, *self._bundle.latent_shape), np.float32)
        return self._engine.encode_image(np.stack(images))

    def _images(self, batch: list[_Prepared], latents: Value) -> list[Pixels]:
        decoded = iter(self._engine.decode(latents) if latents.shape[0] else ())
        return [to_pixels(next(decoded)) if item.image is None else item.image for item in batch]
