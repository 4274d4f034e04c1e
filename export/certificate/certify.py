"""The certificate of a bundle: its cheaper derivatives beside the exact one, on images that the model itself makes.

Unlike a figure of another model, it is measured on the very bundle that is to be scanned, with the scan that the user
will run. Ten steps of DPM-Solver++, or of Euler for flow matching, lead to every default timestep itself, whatever
sampler the bundle recommends.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.dataset as ds

from memscan.export.certificate.agreement import agreement, certified
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.input.manifest import prompt_manifest
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.metrics.plan import GUIDED_PASSES, UNGUIDED_PASSES
from memscan.scanner.metrics.probes import default_probes
from memscan.scanner.results.reader import Key, Results, open_results
from memscan.scanner.run.job import make_job
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.sampling.samplers import samplers_for
from memscan.scanner.settings import Derivative, Execution, Sampler
from memscan.scanner.terminal import listed

STEPS = 10
"""Of the sampler on the way: enough for an image, and a fifth of the usual price."""


def certify(folder: Path, prompts: Sequence[str], report: Callable[[str], None] = print) -> Certificate:
    """Measure how every cheaper derivative of a bundle agrees with the exact one.

    Args:
        folder: the bundle, whatever certificate it has.
        prompts: one image each is made and measured.
        report: is called with a line that says what is being done.

    Raises:
        EnvironmentFailed: the runtime cannot run the graphs, or memory is short.
    """
    bundle = open_bundle(folder, verify=False)
    kinds = bundle.derivatives
    maps = _maps_of_diagonals(bundle)
    report(
        f"certificate: {len(prompts)} images of the model, measured by the derivatives {listed(kinds, len(kinds))}; "
        f"about {_passes(bundle, kinds, maps, len(prompts)):.0f} forward passes"
    )
    exact = _scan(bundle, prompts, maps, "exact")
    agreements = tuple(
        one
        for derivative in kinds
        if derivative != "exact"
        for one in _compare(derivative, _scan(bundle, prompts, maps, derivative), exact, maps)
    )
    digest = hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
    return Certificate(len(prompts), digest, agreements)


def format_certificate(certificate: Certificate) -> str:
    """The certificate as an aligned table, and the default that follows from it."""
    lines = [f"{'derivative':10}  {'map':9}  {'timestep':>8}  {'correlation':>11}  {'scale':>6}"]
    for one in certificate.agreements:
        figures = f"{_figure(one.correlation, 4):>11}  {_figure(one.scale, 3):>6}"
        lines.append(f"{one.derivative:10}  {one.map:9}  {one.timestep:>8}  {figures}")
    return "\n".join((*lines, f"default derivative: {certified(certificate)}"))


def _maps_of_diagonals(bundle: Bundle) -> tuple[str, ...]:
    """The differences of diagonals that the bundle can measure: what a certificate is about."""
    return tuple(
        name
        for name in MAPS
        if (asks := [ask for ask in METRICS[name].asks if ask.quantity == "diagonal"])
        and len(asks) > 1
        and all(bundle.gives("diagonal", ask.of or "prompt") for ask in asks)
    )


def _passes(bundle: Bundle, kinds: Sequence[Derivative], maps: Sequence[str], images: int) -> float:
    """Forward passes of the denoiser in all, by the count of operations."""
    conditions = {ask.of for name in maps for ask in METRICS[name].asks if ask.quantity == "diagonal"}
    probes = bundle.defaults.probes or default_probes(bundle.latent_shape[0])
    calls = len(conditions) * -(-probes.count // bundle.tangents_per_call) * len(bundle.defaults.timesteps)
    step = UNGUIDED_PASSES if bundle.is_unguided(bundle.defaults.guidance_scale) else GUIDED_PASSES
    return images * sum(step * STEPS + calls * bundle.passes[derivative] for derivative in kinds)


def _scan(bundle: Bundle, prompts: Sequence[str], maps: Sequence[str], derivative: Derivative) -> Results:
    request = Request(
        timesteps=bundle.defaults.timesteps,
        sampler=_sampler(bundle),
        num_inference_steps=STEPS,
        metrics=tuple(maps),
        derivative=derivative,
        save_maps=True,
    )
    kept = tempfile.TemporaryDirectory(prefix="memscan-")
    job = make_job(prompt_manifest(tuple(prompts)), bundle, request, Execution(), kept.name, warn=_unheard)
    run(job, note=_unheard, warn=_unheard)
    return open_results(job.out, kept=kept)


def _sampler(bundle: Bundle) -> Sampler:
    """One whose steps can move to the timesteps that are measured."""
    return "dpmsolver++" if "dpmsolver++" in samplers_for(bundle.schedule) else "euler"


def _unheard(line: str) -> None:
    """What a scan says to its user is of no use here."""


def _compare(derivative: Derivative, found: Results, exact: Results, maps: Sequence[str]) -> Iterator[Agreement]:
    """Of every map at every measured timestep. An image that the exact derivative alone can measure speaks against."""
    for index, timestep in sorted({(row["step_index"], row["timestep"]) for row in _good_rows(exact)}):
        keys = _keys(exact, index)
        for name in maps:
            if keys != _keys(found, index):
                yield Agreement(derivative, name, timestep, None, None)
            else:
                yield agreement(
                    derivative, name, timestep, found.maps(name, index, keys), exact.maps(name, index, keys)
                )


def _keys(results: Results, step_index: int) -> list[Key]:
    return [(row["row"], row["seed"]) for row in _good_rows(results) if row["step_index"] == step_index]


def _good_rows(results: Results) -> list[dict[str, int]]:
    columns = ["row", "seed", "step_index", "timestep"]
    return results.rows(columns, ds.field("status") == "ok").to_pylist()


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
