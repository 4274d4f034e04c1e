"""What is measured of a batch at one noise level: the planned calls, and the metrics made of their answers.

All are measured at the same x_t with the same probes, so that the error of few probes largely cancels in a difference.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.hutchinson import estimate, probe_groups
from memscan.scanner.metrics.metric import Answers, Ask, Condition, Place
from memscan.scanner.metrics.plan import OBSERVED, Calls
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.metrics.smoothing import smoothed
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Scores, StepMaps
from memscan.scanner.sampling.schedule import Level, SolverStep
from memscan.scanner.scanning.path import Path
from memscan.scanner.scanning.trajectory import Guidance, step_answers
from memscan.scanner.settings import Measurement

Array = NDArray[np.float32]
Texts = Mapping[Condition, Mapping[str, Value]]
"""Text encodings and what all conditions share, values [N, ...] by the name of the denoiser's input."""


class Meter:
    """Measures batches of images.

    Args:
        calls: give what the metrics of the measurement ask.

    Raises:
        UsageError: probes that do not suit the bundle's latents.
    """

    def __init__(self, bundle: Bundle, graphs: Graphs, measurement: Measurement, calls: Calls) -> None:
        self._graphs = graphs
        self._order = measurement.metrics
        self._metrics = [METRICS[name] for name in measurement.metrics if METRICS[name].when == "measured"]
        self._calls = calls
        self._guidance_scale = bundle.takes.sampling_guidance(measurement.applied_guidance)
        self._derivative = measurement.derivative
        self._smooth = measurement.smooth
        self._count = measurement.probes.count
        self._probes = probe_groups(make_probes(measurement.probes, bundle.latent_shape), bundle.tangents_per_call)
        self._tangents = functools.lru_cache(1)(self._upload_tangents)

    def release(self) -> None:
        """Free what is kept on the device from one batch to the next."""
        self._tangents.cache_clear()

    def measure(self, x: Value, step: SolverStep, texts: Texts, path: Path) -> tuple[StepMaps, Guidance | None]:
        """The maps and scores of a batch of N images, and what the step from there needs, if it was measured.

        Args:
            x: noisy latents [N, C, h, w] at the noise level of `step`.
            texts: of every condition that is asked for.
            path: the way that led there.
        """
        level = step.level
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported, image by image
            answers = self._answers(x, step, texts)
            found = {metric.name: metric.compute(answers, level) for metric in self._metrics}
            of_path = path.found(answers, level)
        maps: dict[str, Array] = {}
        scores: dict[str, Scores] = {}
        exist: dict[str, NDArray[np.bool_]] = {}
        for name in self._order:
            if name in of_path:
                values, has = _of_all(of_path[name], path.sampled), path.sampled
                exist |= {name: has} if METRICS[name].kind == "map" and not has.all() else {}
            elif name in found:
                values, has = found[name].astype(np.float32, copy=False), np.ones(x.shape[0], np.bool_)
            else:
                continue
            if METRICS[name].kind == "map":
                maps[name] = smoothed(values, self._smooth)
            else:
                scores[name] = Scores(values, has)
        guidance = _guidance(answers) if self._calls.give_guidance else None
        return StepMaps(maps, _errors(maps, scores, level), scores, exist), guidance

    def _answers(self, x: Value, step: SolverStep, texts: Texts) -> Answers:
        """What is asked of a measured state."""
        answers: dict[Ask, Array] = {}
        if Ask("state") in self._calls.here:
            answers[Ask("state")] = self._graphs.download(x)
        if self._calls.guided:
            nothing = self._graphs.upload(np.zeros(x.shape, np.float32))
            none = texts["none"] if "none" in self._calls.guided else None
            answer = self._graphs.step(x, step, texts["prompt"], none, nothing, self._guidance_scale)
            given = step_answers(x, answer)
            wanted = self._calls.here.union(self._calls.guiding if self._calls.give_guidance else ()) & given.keys()
            wanted -= answers.keys()
            answers |= {ask: self._graphs.download(given[ask]) for ask in wanted}
        for condition in self._calls.measured:
            answers |= self._response(x, step.level, texts, condition, "state")
        for condition in self._calls.observed:
            answers |= self._observed(x, step.level, texts, condition)
        if self._calls.condition:
            _, product = self._graphs.condition(x, step.level, texts["prompt"], texts["none"])
            answers[Ask("condition_product", "prompt")] = self._graphs.download(product)
        if Ask("denoised") in self._calls.here and Ask("denoised") not in answers:
            guidance = _guidance(answers)
            state = self._graphs.download(x)
            _, denoised = step.take(state, *guidance, np.zeros_like(state), self._guidance_scale)
            answers[Ask("denoised")] = denoised
        if self._calls.denoised:
            noiseless = self._graphs.download(x) - np.float32(step.level.sigma) * answers[Ask("eps", "prompt")]
            image = self._graphs.upload(noiseless)
            for condition in self._calls.denoised:
                answers |= self._response(image, step.level, texts, condition, "denoised")
        return answers

    def _response(self, x: Value, level: Level, texts: Texts, condition: Condition, at: Place) -> dict[Ask, Array]:
        def sum_of_products(tangents: Value) -> tuple[Array, Array]:
            baseline = condition == "baseline"
            eps, v_dot_jv = self._graphs.measure(
                x, level, texts[condition], tangents, derivative=self._derivative, baseline=baseline
            )
            return self._graphs.download(eps), self._graphs.download(v_dot_jv)

        response = estimate(sum_of_products, self._tangents(x.shape[0]), self._count)
        return {Ask("eps", condition, at): response.eps, Ask("diagonal", condition, at): response.diagonal}

    def _observed(self, x: Value, level: Level, texts: Texts, condition: Condition) -> dict[Ask, Array]:
        observed = self._graphs.observe(x, level, texts[condition])
        wanted = (ask for ask in self._calls.here if ask.quantity in OBSERVED and ask.of == condition)
        return {ask: self._graphs.download(observed[ask.quantity]) for ask in wanted}

    def _upload_tangents(self, batch: int) -> list[Value]:
        """One value [Kg, N, C, h, w] for each group: the graph takes tangents for each image, though all are equal."""
        return [self._graphs.upload(np.repeat(group[:, None], batch, axis=1)) for group in self._probes]


def _guidance(answers: Answers) -> Guidance:
    return Guidance(answers[Ask("eps", "prompt")], answers.get(Ask("eps", "none")))


def _of_all(values: NDArray[np.floating[Any]], sampled: NDArray[np.bool_]) -> Array:
    """Of those images that are sampled; 0 for all others."""
    if sampled.all():
        return values.astype(np.float32, copy=False)
    of_all = np.zeros((len(sampled), *values.shape[1:]), np.float32)
    of_all[sampled] = values
    return of_all


def _errors(maps: Mapping[str, Array], scores: Mapping[str, Scores], level: Level) -> tuple[str | None, ...]:
    of_maps = [np.isfinite(values).all(axis=(1, 2)) for values in maps.values()]
    of_scores = [np.isfinite(score.values) | ~score.exist for score in scores.values()]
    finite = np.stack([*of_maps, *of_scores])  # [M, N]
    names = np.array([*maps, *scores])
    return tuple(
        None if good.all() else f"not finite at timestep {level.timestep:g}: {', '.join(names[~good])}"
        for good in finite.T
    )
