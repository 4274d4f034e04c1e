"""The maps of a batch at one noise level: how the denoiser responds to the prompt and to none, and how its baseline.

All are measured at the same x_t with the same probes, so that the error of few probes largely cancels in a difference.
"""

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.engine import Engine
from memscan.scanner.estimators import Response, collapse_maps, estimate, probe_groups
from memscan.scanner.probes import make_probes
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import StepMaps
from memscan.scanner.settings import MAPS, Probes

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
        self._uploaded: dict[int, list[Value]] = {}

    def measure(
        self,
        x: Value,
        timestep: int,
        sigma: float,
        cond: Mapping[str, Value],
        uncond: Mapping[str, Value],
        baseline_cond: Mapping[str, Value],
    ) -> list[StepMaps]:
        """The maps of each image of a batch.

        Args:
            x: noisy latents [N, C, h, w] at `timestep`, whose noise level is `sigma`.
            cond, uncond, baseline_cond: text encodings, values [N, ...] by the name of the denoiser's input; the last
                is not used without a baseline.
        """
        respond = functools.partial(self._respond, x, timestep)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported, image by image
            maps = collapse_maps(
                respond(cond),
                respond(uncond),
                respond(baseline_cond, baseline=True) if self._has_baseline else None,
                sigma,
            )
        ordered = {name: maps[name] for name in MAPS if name in maps}
        return [_checked({name: values[i] for name, values in ordered.items()}, timestep) for i in range(x.shape[0])]

    def _respond(self, x: Value, timestep: int, text: Mapping[str, Value], *, baseline: bool = False) -> Response:
        def sum_of_products(tangents: Value) -> tuple[Array, Array]:
            eps, v_dot_jv = self._engine.measure(x, timestep, text, tangents, baseline=baseline)
            return self._engine.download(eps), self._engine.download(v_dot_jv)

        return estimate(sum_of_products, self._tangents(x.shape[0]), self._count)

    def _tangents(self, batch: int) -> list[Value]:
        """One value [Kg, N, C, h, w] for each group: the graph takes tangents for each image, though all are equal."""
        if batch not in self._uploaded:
            self._uploaded[batch] = [
                self._engine.upload(np.repeat(group[:, None], batch, axis=1)) for group in self._probes
            ]
        return self._uploaded[batch]


def _checked(maps: dict[str, Array], timestep: int) -> StepMaps:
    broken = [name for name, values in maps.items() if not np.isfinite(values).all()]
    if broken:
        return StepMaps({}, f"not finite at timestep {timestep}: {', '.join(broken)}")
    return StepMaps(maps)
