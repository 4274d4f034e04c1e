"""What a bundle is, on one screen of a terminal. Names and ids are others': nothing in them steers the terminal."""

from collections.abc import Iterable, Iterator
from typing import Any

from memscan.scanner.inspection.facts import Facts
from memscan.scanner.terminal import brief, listed

_MARGIN = 13
_MOST_CALIBRATIONS = 6
_DIGEST_SHOWN = 16


def text(facts: Facts) -> str:
    """The facts as lines, each under its heading."""
    return "\n".join(
        f"{heading if index == 0 else '':{_MARGIN}}{line}".rstrip()
        for heading, lines in _sections(facts)
        for index, line in enumerate(lines)
    )


_PREDICTIONS = {
    "epsilon": "eps",
    "v_prediction": "v, converted to eps",
    "flow_prediction": "noise less image, converted to eps",
}


_SHOWN = {
    "inpainting": "inpainting: condition_image and condition_mask, by default all is masked",
    "depth": "depth: condition_image, by default none",
    "edit": "editing: condition_image, by default none",
}


def _sections(facts: Facts) -> Iterator[tuple[str, list[str]]]:
    channels, rows, columns = facts["latents"]
    height, width = facts["images"]
    predicts = _PREDICTIONS[facts["prediction_type"]]
    dtypes = facts["dtypes"]
    yield "bundle", [brief(facts["path"], 100), f"digest {facts['digest']}"]
    checked = "compared with their digests" if facts["verified"] else "digests not compared: --verify does"
    yield "files", [f"{facts['files']}, {_size(facts['bytes'])}, {checked}"]
    yield "model", [f"{brief(facts['model']['id'])}, digest {_short(facts['model']['digest'])}"]
    if adapters := facts["model"]["adapters"]:
        yield "adapters", [f"{brief(one['file'], 60)} x {one['scale']:g}" for one in adapters]
    if embeddings := facts["model"]["embeddings"]:
        yield "embeddings", [f"{brief(one['token'], 60)} of {brief(one['file'], 60)}" for one in embeddings]
    yield "baseline", [_baseline(facts["baseline"])]
    yield "family", [f"{facts['family']}, predicting {predicts}"]
    if taken := [*_taken(facts["takes"])]:
        yield "takes", taken
    yield "latents", [f"{channels} x {rows} x {columns}, of images of {height} x {width} pixels"]
    yield "numbers", [f"weights {dtypes['weights']}, denoiser computed in {dtypes['compute']}"]
    yield "schedule", [_schedule(facts["schedule"])]
    yield "text", [_text(facts["text"])]
    yield "graphs", [*_graphs(facts)]
    yield "derivatives", [*_derivatives(facts)]
    yield "defaults", [*_defaults(facts["defaults"], facts["price"])]
    yield "calibrated", [*_calibrations(facts["calibrations"], facts["defaults"])]
    if facts["calibration_file"] is not None:
        yield "calibration", [*_calibration_file(facts["calibration_file"])]
    yield "engines", [*_engines(facts["engines"])]


def _taken(takes: Facts) -> Iterator[str]:
    """What the denoiser takes beside latents, noise level and text."""
    if takes["guidance"]:
        yield "the scale of guidance: it guides itself, and is sampled without classifier-free guidance"
    if channels := takes["channels"]:
        yield f"{channels['count']} channels for {_SHOWN[channels['kind']]}"
    if scores := takes["aesthetic_scores"]:
        yield f"an aesthetic score, {scores['prompt']:g} of the prompt and {scores['none']:g} of none"


def _baseline(baseline: Facts | None) -> str:
    if baseline is None:
        return "none: no dh_base, no ds_base"
    encoder = "with a text encoder of its own" if baseline["own_text_encoder"] else "with the model's text encoder"
    return f"{brief(baseline['id'])}, digest {_short(baseline['digest'])}, {encoder}"


def _schedule(schedule: Facts) -> str:
    alpha, sigma = (f"{name} {first:.4g} to {last:.4g}" for name, (first, last) in _levels(schedule))
    return f"{schedule['num_train_timesteps']} timesteps, {alpha}, {sigma}; {_SPACINGS[schedule['kind']](schedule)}"


def _ddpm_spacing(schedule: Facts) -> str:
    ends = "without noise" if schedule["set_alpha_to_one"] else "at timestep 0"
    return f"{schedule['timestep_spacing']} + {schedule['steps_offset']}, ends {ends}"


def _flow_spacing(schedule: Facts) -> str:
    last = "one step's" if schedule["sigma_min"] is None else f"{schedule['sigma_min']:.4g}"
    return f"flow matching, shift {schedule['shift']:.4g} of equal distances from 1 to {last}"


def _edm_spacing(schedule: Facts) -> str:
    return f"EDM, {schedule['sigma_schedule']}, sigma / alpha {schedule['sigma_max']:g} to {schedule['sigma_min']:g}"


_SPACINGS = {"ddpm": _ddpm_spacing, "flow_matching": _flow_spacing, "edm": _edm_spacing}


def _levels(schedule: Facts) -> Iterator[tuple[str, tuple[float, float]]]:
    for name in ("alpha", "sigma"):
        yield name, schedule[name]


def _text(said: Facts) -> str:
    rules = said["tokenizers"]
    files = listed((rule["file"] for rule in rules), len(rules))
    encoders = "1 text encoder" if len(rules) == 1 else f"{len(rules)} text encoders"
    none = "zeros" if said["zero_uncond"] else brief(repr(said["uncond_prompt"]), 40)
    skipped = f"; clip skip {said['clip_skip']}" if said["clip_skip"] else ""
    lengths = list(dict.fromkeys(str(rule["max_length"]) for rule in rules))
    return f"{encoders} of {' and '.join(lengths)} tokens ({files}); no prompt is {none}{skipped}"


def _graphs(facts: Facts) -> Iterator[str]:
    graphs = facts["graphs"]
    names = [brief(graph["name"], 40) for graph in graphs]
    width = max(map(len, names))
    for name, graph in zip(names, graphs, strict=True):
        given = "; ".join(_given(graph["gives"]))
        passes = "" if graph["passes"] is None else f"{graph['passes']:.3g}"
        sliced = " sliced too" if graph["sliced"] else ""
        yield f"{name:{width}}  {_size(graph['bytes']):>9}  {passes:>5}  {given}{sliced}".rstrip()
    yield f"{'weights':{width}}  {_size(facts['weights_bytes']):>9}"


def _given(gives: dict[str, list[str]]) -> Iterator[str]:
    """What a graph gives, by the conditions that it is given for."""
    for of in dict.fromkeys(map(tuple, gives.values())):
        quantities = [quantity for quantity, conditions in gives.items() if tuple(conditions) == of]
        yield f"{', '.join(quantities)} of {', '.join(of)}"


def _derivatives(facts: Facts) -> Iterator[str]:
    certificate = facts["certificate"]
    for kind, passes in facts["passes_per_call"].items():
        cost = f"{kind:8} {passes:5.3g} passes for {facts['tangents_per_call']} tangents"
        yield cost if kind == "exact" else f"{cost}; {_agreement(kind, certificate)}"


def _agreement(kind: str, certificate: Facts | None) -> str:
    found = [] if certificate is None else [one for one in certificate["agreements"] if one["derivative"] == kind]
    if certificate is None or not found:
        return "not certified"
    worst = min(found, key=lambda one: -2.0 if one["correlation"] is None else one["correlation"])
    agrees = "agreement with exact undefined"
    if worst["correlation"] is not None:
        agrees = f"agrees with exact by {worst['correlation']:.4f} or more"
    return f"{agrees} ({worst['map']} at {worst['timestep']}; {certificate['prompts']} prompts)"


def _defaults(defaults: Facts, price: Facts) -> Iterator[str]:
    probes = defaults["probes"]
    vectors = "probes by the number of channels" if probes is None else f"{probes['count']} {probes['kind']} probes"
    yield (
        f"{defaults['num_inference_steps']} steps of {defaults['sampler']}, guidance {defaults['guidance_scale']:g}, "
        f"measured at timestep {_numbers(defaults['timesteps'])} with {vectors}"
    )
    yield (
        f"masks of {defaults['mask_map']}, {defaults['derivative']} derivative; a run's image costs "
        f"{price['sampling']:g} forward passes to sample and {price['measuring']:.3g} to measure"
    )


def _calibrations(calibrations: list[Facts], defaults: Facts) -> Iterator[str]:
    """Those of the default settings first."""
    if not calibrations:
        yield "no threshold: masks need --threshold"

    def differences(one: Facts) -> int:
        same = ("num_inference_steps", "guidance_scale", "sampler", "probes", "derivative")
        apart = one["map"] != defaults["mask_map"], one["timestep"] not in defaults["timesteps"]
        return sum((*apart, *(one[name] != defaults[name] for name in same)))

    for one in sorted(calibrations, key=differences)[:_MOST_CALIBRATIONS]:
        yield (
            f"{one['map']} >= {one['threshold']:.4g} at timestep {one['timestep']}: {one['num_inference_steps']} steps "
            f"of {one['sampler']}, guidance {one['guidance_scale']:g}, {one['probes']['count']} "
            f"{one['probes']['kind']}, {one['derivative']}"
        )
    if len(calibrations) > _MOST_CALIBRATIONS:
        yield f"and {len(calibrations) - _MOST_CALIBRATIONS} more: --json lists them"


def _calibration_file(said: Facts) -> Iterator[str]:
    """What a run takes in place of the defaults, where it is told nothing."""
    if "refused" in said:
        yield f"refused: {brief(said['refused'], 400)}"
        return
    settings, chosen = said["settings"], said["recommended"]
    yield (
        f"calibration.json: {said['clean_prompts']} clean prompts, rate of false positives {said['rate']:g}, "
        f"timesteps {_numbers(said['timesteps'])}"
    )
    yield (
        f"a run takes timestep {chosen['timestep']}, masks of {chosen['mask_map']}, score {chosen['score_name']}, "
        f"{settings['num_inference_steps']} steps of {settings['sampler']}"
    )
    yield (
        f"guidance {settings['guidance_scale']:g}, {settings['probes']['count']} {settings['probes']['kind']} probes, "
        f"{settings['derivative']} derivative"
    )


def _engines(engines: list[Facts]) -> Iterator[str]:
    for one in engines:
        version = one["version"] or "-"
        ready = "installed; needs an NVIDIA GPU, not tried" if one["device"] == "CUDA" else "can run it"
        yield f"{one['engine']:12}  {one['device']:11}  {version:10}  {brief(one['lacks'], 80) or ready}"


def _numbers(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _short(digest: str) -> str:
    return f"{digest[:_DIGEST_SHOWN]}..."


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
