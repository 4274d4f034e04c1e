"""What a sheet says above its pictures: of which model and settings it is, and how it is to be read."""

from collections.abc import Iterator

from memscan.scanner.sheet.entries import Selection
from memscan.scanner.sheet.scale import number

TITLE = "What memscan measured"

CAUTION = (
    "A high score says that the model leaves an image little freedom at this noise level. It does not say from which"
    " training image it comes, nor whose that is; and a low score does not rule out that anything is memorized."
)

_SCALE = (
    "All colours and bars run from 0 to 1, whatever was found. Of curvature (dh, h), 1 means that the model leaves a"
    " pixel no freedom at all; h, from which nothing is subtracted, is high in ordinary images too. Of score changes"
    " (ds), 1 is the variance of the noise, and the scale is that of their square root. What lies beyond an end has its"
    " colour."
)

_DIGITS = 12


def facts(selection: Selection) -> Iterator[str]:
    """The lines of the sheet's head."""
    yield _model(selection)
    yield _settings(selection)
    yield _shown(selection)
    yield _mask(selection)
    yield _SCALE
    yield CAUTION


def _model(selection: Selection) -> str:
    origin = selection.origin
    digest = str(origin.settings.get("bundle", ""))[:_DIGITS]
    when = f" on {origin.date}" if origin.date else ""
    return f"Model {selection.model_id} (bundle {digest}), scanned by memscan {origin.version}{when}."


def _settings(selection: Selection) -> str:
    settings = selection.origin.settings
    steps, sampler, guidance = (settings[name] for name in ("num_inference_steps", "sampler", "guidance_scale"))
    count, kind, seed = (settings[f"probes.{name}"] for name in ("count", "kind", "seed"))
    derivative = settings.get("derivative", "exact")  # an earlier version had no other
    return (
        f"{steps} steps of {sampler}, guidance {guidance:g}, {count} {kind} probes of seed {seed}, {derivative}"
        f" derivative; measured at step {selection.step} (timestep {selection.timestep}, sigma {selection.sigma:.3g})."
    )


def _shown(selection: Selection) -> str:
    count, total = len(selection.entries), selection.total
    if count == total:
        return f"Shown: all {total} images."
    order = "the highest scores first" if selection.entries[0].truth is None else "some of each kind"
    return f"Shown: {count} of {total} images, {order}."


def _mask(selection: Selection) -> str:
    if selection.threshold is None:
        return (
            f"UNCALIBRATED: no threshold of {selection.mask_map} was calibrated for this model at these settings, and"
            " none was given. So there are no masks, and no value here is known to be high."
        )
    threshold = f"Threshold: {selection.mask_map} of {number(selection.threshold)}"
    if selection.calibrated:
        said = f"{threshold}, calibrated for this model at exactly these settings"
    else:
        said = f"UNCALIBRATED. {threshold}, given by hand: not calibrated for this model at these settings"
    if selection.reaching == 0:
        return f"{said}. There is nothing above the threshold in any of {selection.total} images."
    return f"{said}. {selection.reaching} of {selection.total} images have pixels above it."
