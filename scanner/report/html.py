"""The report: one page that needs no network, no server and nothing beside it, and runs no script but its own.

Every text is escaped by Jinja. Style and script are in the page, named by their digests in its content security policy:
whatever a prompt smuggles in, a browser runs and loads nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.training_pictures import TrainingPictures
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.report import charts, flags
from memscan.scanner.report.clean import clean_scores
from memscan.scanner.report.gallery import MASK, TRUE_MASK, Card, cards
from memscan.scanner.report.histogram import axis, counts_of, histogram
from memscan.scanner.report.particulars import badges, detection_line, particulars, tiles
from memscan.scanner.report.pictures import ramp
from memscan.scanner.report.survey import Survey, survey
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.sheet.facts import CAUTION
from memscan.scanner.sheet.scale import number, percentage, share, ticks

_PAGE = Path(__file__).parent / "page"
_SAYS = {
    MASK: "where the map reaches the threshold: what is outside is veiled",
    TRUE_MASK: "the part that is truly memorized, by the ground truth",
}


def html(
    results: Results,
    *,
    step: int | None = None,
    top: int,
    rate: float = flags.RATE,
    truth: GroundTruth | None = None,
    training: TrainingPictures | None = None,
    calibration: Path | None = None,
) -> str:
    """The page of results measured at a step, by default the last one.

    Args:
        top: how many of the highest scores are shown.
        rate: the false-positive rate at which p-values flag.
        calibration: a file; its clean prompts' scores are drawn beside the run's.

    Raises:
        UsageError: the calibration is of another measurement, or none; no such step, no rows, or something that is
            shown is missing or damaged.
    """
    if results.is_empty:
        raise UsageError(f"nothing to report in {results.path}: its manifest had no rows")
    found = survey(results, step, top, rate, truth)
    clean = None if calibration is None else clean_scores(calibration, results, found)
    shown = list(cards(results, found, truth, training))
    style, script = (Markup((_PAGE / name).read_text()) for name in ("page.css", "page.js"))
    template = _environment().get_template("page.html.j2")
    return template.render(
        policy=_policy(style, script),
        style=style,
        script=script,
        title=found.common.get("model_id") or results.path.name,
        badges=badges(results, found),
        tiles=list(tiles(found)),
        particulars=list(particulars(results, found)),
        settings=sorted(results.origin.settings.items()),
        finished=results.finished,
        found=found,
        cards=shown,
        layers=_layers(shown),
        kinds=sorted({card.kind for card in shown if card.kind}),
        orders=_orders(results, shown),
        bar=_bar(results),
        mark=_mark(results, found),
        chart=_chart(results, found, truth, clean),
        roc=_roc(found),
        caution=CAUTION,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percentage": percentage}
    return environment


def _policy(*inline: str) -> str:
    """A content security policy by which only the page's own style and script count."""
    style, script = (f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline)
    return (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script};"
        " base-uri 'none'; form-action 'none'"
    )


def _layers(shown: Sequence[Card]) -> list[dict[str, object]]:
    """What can be laid over the images, with its scale: name, what it says, ticks with their places, colours."""
    names: Iterable[str] = dict.fromkeys(name for card in shown for name in card.layers)
    colours = ramp()
    return [
        {"name": name, "says": _SAYS[name], "ticks": (), "ramp": None}
        if name in _SAYS
        else {
            "name": name,
            "says": METRICS[name].says,
            "ticks": [f"{value:.3g}" for value in ticks(name)],
            "ramp": colours,
        }
        for name in names
    ]


def _orders(results: Results, shown: Sequence[Card]) -> list[str]:
    """The columns by which cards can be sorted: those in which any has a value."""
    names = ["score", "p_value", "mask_share", "row", "seed", "id", "prompt", *results.carried]
    return [name for name in names if any(card.sorted_by.get(name) is not None for card in shown)]


def _bar(results: Results) -> object:
    """Gives how far along the absolute scale a score lies, in percent; None of a score that has no such scale."""
    metric = SCORE_COLUMNS[results.score_name]

    def place(score: float) -> float | None:
        return round(100 * float(share(score, metric.name)), 2) if metric.kind == "map" else None

    return place


def _mark(results: Results, found: Survey) -> float | None:
    """Where on the scale of the score the threshold of the mask lies, in percent, if both are of one map."""
    threshold, metric = found.common.get("threshold"), SCORE_COLUMNS[results.score_name]
    if threshold is None or metric.name != results.mask_map:
        return None
    return round(100 * float(share(threshold, metric.name)), 2)


def _chart(
    results: Results, found: Survey, truth: GroundTruth | None, clean: NDArray[np.float32] | None
) -> charts.Chart | None:
    across = axis(results.score_name, found, clean)
    counts = histogram(results, found, truth, across)
    same_map = SCORE_COLUMNS[results.score_name].name == results.mask_map
    threshold = found.common.get("threshold") if same_map else None
    beside = None if clean is None else counts_of(clean, across)
    return charts.histogram_chart(counts, across, threshold, beside) if counts else None


def _roc(found: Survey) -> dict[str, str] | None:
    known = found.labelled
    detected: Detection | None = None
    if known is not None and len(known.scores):
        detected = detection(known.scores, known.memorized, known.captions)
    if detected is None:
        return None
    return {"path": charts.roc_path(detected), "says": detection_line(found, detected)}
