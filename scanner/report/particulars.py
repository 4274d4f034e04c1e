"""What an auditor asks first, as names and values: which model, by which settings, when, and what a flag is worth."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from memscan.scanner.embedded import TOY
from memscan.scanner.evaluation.detection import Detection
from memscan.scanner.report.survey import Survey
from memscan.scanner.results.reader import Origin, Results
from memscan.scanner.sheet.columns import score_explanation
from memscan.scanner.sheet.scale import number

_DIGEST = "bundle"
_ENOUGH = 100  # images, from which on a percentage says something


@dataclasses.dataclass(frozen=True)
class Tile:
    """A large figure with its name, and what it means."""

    name: str
    figure: str
    says: str


def badges(results: Results, found: Survey) -> tuple[str, ...]:
    """Words that keep a page from being taken for what it is not."""
    words = {
        "TOY MODEL": TOY in str(found.common.get("model_id", "")),
        "UNCALIBRATED": not found.common.get("calibrated") and not found.p_values,
        "UNFINISHED": not results.finished,
    }
    return tuple(word for word, needed in words.items() if needed)


def tiles(found: Survey) -> Iterator[Tile]:
    """The figures of the page's head."""
    yield Tile("images scanned", f"{found.scanned:,}", _fates(found))
    flagged = "-" if not (found.masked or found.p_values) else f"{found.flagged:,}"
    share = f"{found.flagged / found.scanned:.2%} of those scanned: " if found.scanned and flagged != "-" else ""
    yield Tile("flagged", flagged, share + _flag(found))
    yield Tile("false-positive rate", *_false_positives(found))
    errors = found.statuses.get("error", 0)
    yield Tile(
        "errors", f"{errors:,}", "images that could not be scanned" if errors else "every image could be scanned"
    )


def particulars(results: Results, found: Survey) -> Iterator[tuple[str, str]]:
    """Names and values of what the results were made by."""
    origin, common = results.origin, found.common
    settings = origin.settings
    yield "Model", str(common.get("model_id") or "not known: no image was scanned")
    yield "Model's digest", str(common.get("model_digest") or settings.get(_DIGEST, "not recorded"))
    if common.get("run_id"):
        yield "Run", str(common["run_id"])
    yield "Scanned", _dates(origin, found)
    yield "memscan", origin.version or "not recorded"
    yield "Sampling", _sampling(settings)
    yield "Measured at", _noise(found)
    yield "Estimate", _estimate(settings, common.get("derivative"))
    yield "Score", f"{score_explanation(results.score_name)}; high means memorized"
    yield "Mask", _mask(results, found)
    if found.sources:
        yield "Images", ", ".join(f"{count:,} {source}" for source, count in sorted(found.sources.items()))
    if found.truncated:
        yield (
            "Truncated",
            f"{found.truncated:,} prompts were longer than the text encoder: what was beyond did not count",
        )


def detection_line(found: Survey, detected: Detection) -> str:
    """AUC and rates of a score, in a sentence."""
    low_high = "" if detected.interval is None else f" (95%: {detected.interval[0]:.3f} to {detected.interval[1]:.3f})"
    rates = [
        f"true-positive rate at {rate.limit:.1%} false positives {rate.below:.3f}"
        if rate.below is not None
        else f"no rate at {rate.limit:.1%} false positives: it takes {rate.needed:,} captions that are not memorized, "
        f"and there are {rate.captions:,}"
        for rate in detected.rates
    ]
    return f"AUC {detected.auc:.3f}{low_high}; {'; '.join(rates)}."


def _fates(found: Survey) -> str:
    others = [f"{count:,} {status}" for status, count in sorted(found.statuses.items()) if status != "ok"]
    return f"of {found.images:,} in the results ({', '.join(others)})" if others else "all images of the results"


def _flag(found: Survey) -> str:
    if found.p_values:
        return f"their p-value is {found.rate:g} or less"
    if found.masked:
        return "a part of the map reaches the threshold"
    return "nothing can be flagged: no threshold was calibrated or given"


def _false_positives(found: Survey) -> tuple[str, str]:
    measured = _measured(found)
    if found.p_values:
        chance = f"by calibration: of images that are not memorized about {found.rate * found.scanned:,.0f} by chance"
        return f"{found.rate:.3g}", f"{chance}{'; ' + measured[1] if measured else ''}"
    if measured:
        return measured
    if found.masked:
        return "not known", "thresholds of masks promise no rate: it takes p-values, or ground truth"
    return "not known", "nothing is flagged"


def _measured(found: Survey) -> tuple[str, str] | None:
    """Of the images that ground truth knows not to be memorized, the share that is flagged."""
    if found.labelled is None or not (found.masked or found.p_values):
        return None
    others = ~found.labelled.memorized
    count, total = int(found.labelled.flagged[others].sum()), int(others.sum())
    if not total:
        return None
    figure = f"{count / total:.1%}" if total >= _ENOUGH else f"{count} of {total}"
    return figure, f"measured: {count:,} of {total:,} images known not to be memorized are flagged"


def _dates(origin: Origin, found: Survey) -> str:
    if found.dates is not None:
        first, last = (str(date)[:16].replace("T", " ") for date in found.dates)
        return first if first == last else f"{first} to {last}"
    return origin.date or "not recorded"


def _sampling(settings: Any) -> str:
    steps, sampler, guidance = (
        settings.get(name, "?") for name in ("num_inference_steps", "sampler", "guidance_scale")
    )
    return f"{steps} steps of {sampler}, guidance {guidance}"


def _noise(found: Survey) -> str:
    common = found.common
    level = f" (timestep {common['timestep']}, sigma {common['sigma']:.3g})" if common else ""
    others = [str(index) for index in found.steps if index != found.step]
    also = f"; steps {', '.join(others)} were measured too, and are not on this page" if others else ""
    return f"step {found.step}{level}{also}"


def _estimate(settings: Any, derivative: str | None) -> str:
    count, kind, seed = (settings.get(f"probes.{name}", "?") for name in ("count", "kind", "seed"))
    return f"{count} {kind} probes of seed {seed}, {derivative or settings.get('derivative', 'exact')} derivative"


def _mask(results: Results, found: Survey) -> str:
    threshold = found.common.get("threshold")
    if threshold is None:
        return "none: no threshold was calibrated for this model at these settings, and none was given"
    where = f"where {results.mask_map} is {number(threshold)} or more, "
    if found.common.get("calibrated"):
        return where + "calibrated for this model at exactly these settings"
    return where + "given by hand: not calibrated for this model at these settings"
