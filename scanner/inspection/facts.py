"""What a bundle says of itself, and what it costs, as plain values: the form of `memscan inspect --json`."""

import dataclasses
from typing import Any

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.calibration.record import Calibrated, find_calibration
from memscan.scanner.errors import UsageError
from memscan.scanner.input.manifest import prompt_manifest
from memscan.scanner.inspection.engines import engines_here
from memscan.scanner.metrics.plan import Price
from memscan.scanner.run.job import make_job
from memscan.scanner.run.request import Request
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.settings import Execution

_FAMILIES = {1: "Stable Diffusion 1.x or 2.x", 2: "Stable Diffusion XL"}
"""Of UNets, by the number of text encoders: a bundle's record does not name its family."""

Facts = dict[str, Any]


def facts(bundle: Bundle, *, verified: bool) -> Facts:
    """All that is said of a bundle.

    Args:
        verified: whether its files were compared with their digests.
    """
    calibrated, refused = _calibrated(bundle)
    channels, height, width = bundle.latent_shape
    sizes = {name: bundle.file(name).stat().st_size for name in bundle.files}
    return {
        "path": str(bundle.path),
        "digest": bundle.digest,
        "verified": verified,
        "files": len(sizes),
        "bytes": sum(sizes.values()),
        "model": {
            "id": bundle.model_id,
            "digest": bundle.model_digest,
            "adapters": [dataclasses.asdict(adapter) for adapter in bundle.adapters],
            "embeddings": [dataclasses.asdict(embedding) for embedding in bundle.embeddings],
        },
        "baseline": _baseline(bundle),
        "family": _family(bundle),
        "prediction_type": bundle.prediction_type,
        "takes": dataclasses.asdict(bundle.takes),
        "latents": [channels, height, width],
        "images": list(bundle.image_size),
        "dtypes": dataclasses.asdict(bundle.dtypes),
        "schedule": _schedule(bundle),
        "text": dataclasses.asdict(bundle.text),
        "graphs": _graphs(bundle, sizes),
        "weights_bytes": sum(size for name, size in sizes.items() if name.endswith(graph_names.WEIGHTS)),
        "tangents_per_call": bundle.tangents_per_call,
        "passes_per_call": {kind: bundle.passes[kind] for kind in bundle.derivatives},
        "price": _price(bundle, calibrated),
        "certificate": None if bundle.certificate is None else dataclasses.asdict(bundle.certificate),
        "defaults": dataclasses.asdict(bundle.defaults),
        "calibrations": [dataclasses.asdict(calibration) for calibration in bundle.calibrations],
        "calibration_file": _calibration_file(calibrated, refused),
        "engines": [engine._asdict() for engine in engines_here(bundle)],
    }


def _family(bundle: Bundle) -> str:
    rules = bundle.text.tokenizers
    if bundle.prediction_type == "flow_prediction":
        return "FLUX.1" if any(rule.position is None for rule in rules) else "Stable Diffusion 3"
    return _FAMILIES.get(len(rules), "unknown")


def _baseline(bundle: Bundle) -> Facts | None:
    if not bundle.has_baseline:
        return None
    return {
        "id": bundle.baseline_id,
        "digest": bundle.baseline_digest,
        "own_text_encoder": bundle.baseline_has_text_encoder,
    }


def _schedule(bundle: Bundle) -> Facts:
    schedule = bundle.schedule
    first, last = (noise_level(schedule, timestep) for timestep in (0, schedule.last_timestep))
    said = dataclasses.asdict(schedule)
    said.pop("alphas_cumprod", None)
    return {**said, "alpha": [first.alpha, last.alpha], "sigma": [first.sigma, last.sigma]}


def _calibrated(bundle: Bundle) -> tuple[Calibrated | None, str]:
    """The calibration in the bundle's folder; or why a run would refuse the file that is there."""
    try:
        return find_calibration(bundle), ""
    except UsageError as error:
        return None, str(error)


def _calibration_file(calibrated: Calibrated | None, refused: str) -> Facts | None:
    if calibrated is None:
        return {"refused": refused} if refused else None
    record = calibrated.record
    return {
        "digest": calibrated.digest,
        "rate": record.rate,
        "clean_prompts": record.clean.prompts,
        "timesteps": [level.timestep for level in record.levels],
        "settings": dataclasses.asdict(record.settings),
        "recommended": dataclasses.asdict(record.recommended),
    }


def _price(bundle: Bundle, calibrated: Calibrated | None) -> Facts:
    """Forward passes of an image that is sampled and measured by a run that is told nothing."""
    request, execution = Request(), Execution()
    job = make_job(
        prompt_manifest(("",)), bundle, request, execution, "", calibration=calibrated, warn=lambda line: None
    )
    price: Price = job.price()
    return {"sampling": price.sampling, "measuring": price.measuring}


def _graphs(bundle: Bundle, sizes: dict[str, int]) -> list[Facts]:
    """Each graph with what it gives; `passes` is of one call, `sliced` whether it has a variant for CPUs."""
    passes = {graph_names.STEP: 2.0, graph_names.UNGUIDED: 1.0, graph_names.OBSERVE: 1.0}
    passes[graph_names.CONDITION] = bundle.condition_passes
    for kind in bundle.derivatives:
        measuring = graph_names.measure(kind)
        passes |= dict.fromkeys((measuring, graph_names.of_baseline(measuring)), bundle.passes[kind])
    return [
        {
            "name": name,
            "bytes": sizes[name],
            "sliced": graph_names.sliced(name) in bundle.files,
            "gives": {quantity: list(conditions) for quantity, conditions in given.items()},
            "passes": passes.get(name),
        }
        for name, given in bundle.graphs.items()
    ]
