"""The maps of a batch at one noise level: how the denoiser responds to the prompt and to none, and how its baseline.

All are measured at the same x_t with the same probes, so that the error of few probes largely cancels in a difference.
"""

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.metrics.curvature import collapse_maps
from memscan.scanner.metrics.hutchinson import Response, estimate, probe_groups
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.model.engine import Engine
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import StepMaps
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Probes

Array = NDArray[np.float32]


class Meter:
    """Measures batches of images.

    Raises:
        UsageError: probes that do not suit the bundle's latents.
    """

    def __init__(self, bundle: Bundle, engine: Engine, probes: Probes) -> None:
        self._engine = engine
        self._has_baseline = bundle.has_baseline
        self._count = probes.count
        self._probes = probe_groups(make_probes(probes, bundle.latent_shape), bundle.tangents_per_call)
        self._tangents = functools.lru_cache(1)(self._upload_tangents)

    def release(self) -> None:
        """Free what is kept on the device from one batch to the next."""
        self._tangents.cache_clear()

    def measure(
        self,
        x: Value,
        level: Level,
        cond: Mapping[str, Value],
        uncond: Mapping[str, Value],
        baseline_cond: Mapping[str, Value],
    ) -> StepMaps:
        """The maps of a batch of N images.

        Args:
            x: noisy latents [N, C, h, w] at `level`.
            cond, uncond, baseline_cond: text encodings, values [N, ...] by the name of the denoiser's input; the last
                is not used without a baseline.
        """
        respond = functools.partial(self._respond, x, level)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported, image by image
            maps = collapse_maps(
                respond(cond),
                respond(uncond),
                respond(baseline_cond, baseline=True) if self._has_baseline else None,
                level.sigma,
            )
        ordered = {name: maps[name] for name in MAPS if name in maps}
        return StepMaps(ordered, _errors(ordered, level))

    def _respond(self, x: Value, level: Level, text: Mapping[str, Value], *, baseline: bool = False) -> Response:
        def sum_of_products(tangents: Value) -> tuple[Array, Array]:
            eps, v_dot_jv = self._engine.measure(x, level, text, tangents, baseline=baseline)
            return self._engine.download(eps), self._engine.download(v_dot_jv)

        return estimate(sum_of_products, self._tangents(x.shape[0]), self._count)

    def _upload_tangents(self, batch: int) -> list[Value]:
        """One value [Kg, N, C, h, w] for each group: the graph takes tangents for each image, though all are equal."""
        return [self._engine.upload(np.repeat(group[:, None], batch, axis=1)) for group in self._probes]


def _errors(maps: Mapping[str, Array], level: Level) -> tuple[str | None, ...]:
    finite = np.stack([np.isfinite(values).all(axis=(1, 2)) for values in maps.values()])  # [M, N]
    names = np.array(list(maps))
    return tuple(
        None if good.all() else f"not finite at timestep {level.timestep:g}: {', '.join(names[~good])}"
        for good in finite.T
    )
