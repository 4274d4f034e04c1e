"""A figure of the curves of detection, by matplotlib, which is an extra: nothing else of memscan needs it."""

import io
from collections.abc import Sequence
from pathlib import Path

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.figures import DetectionRecord

FORMATS = (".png", ".pdf", ".svg")
_CURVES = 8


def check_figure_name(file: Path) -> None:
    """Raises UsageError if a figure cannot have the name of `file`, or matplotlib is not there to draw it."""
    if file.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot {file}: a figure is written to a file that ends in {', '.join(FORMATS)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UsageError("--plot needs matplotlib: pip install 'memscan[plot]'") from error


def roc_figure(detections: Sequence[DetectionRecord], suffix: str) -> bytes:
    """The curves of the best scores on all kinds together, a panel for each step; false positives on a log scale.

    Args:
        suffix: one of `FORMATS`.

    Raises:
        UsageError: there is no curve: images of one side only.
    """
    from matplotlib.figure import Figure

    records = [one for one in detections if one.kind == "all"]
    steps = sorted({one.step for one in records})
    if not steps:
        raise UsageError("--plot: nothing to draw, since memorized and other images are not both there")
    figure = Figure(figsize=(5.6 * len(steps), 5.8), layout="constrained")
    for axes, step in zip(figure.subplots(1, len(steps), squeeze=False)[0], steps, strict=True):
        best = sorted((one for one in records if one.step == step), key=lambda one: -one.auc)
        first = best[0]
        lowest = 0.5 / first.negatives
        for place, one in enumerate(best[:_CURVES]):
            corners = one.roc.corners()
            label = f"{one.score}  {one.auc:.3f}"
            if one.auc_low is not None:
                label += f" [{one.auc_low:.3f}, {one.auc_high:.3f}]"
            style = ("-", "--", ":", "-.")[place % 4]
            axes.step(corners.fpr.clip(lowest), corners.tpr, where="post", label=label, linestyle=style, linewidth=1.6)
        chance = [lowest * (1 / lowest) ** (step / 100) for step in range(101)]
        axes.plot(chance, chance, color="0.75", linewidth=1, label="chance")
        axes.set(xscale="log", xlim=(lowest, 1), ylim=(-0.01, 1.01))
        axes.set(xlabel="false-positive rate (left edge: none)", ylabel="true-positive rate")
        axes.set_title(
            f"step {step}, timestep {first.timestep}: {first.positives} memorized, {first.negatives} other images",
            fontsize=10,
        )
        axes.grid(color="0.92")
        axes.legend(
            title="score, AUC [95%]", fontsize=8, title_fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14)
        )
    content = io.BytesIO()
    figure.savefig(content, format=suffix.removeprefix("."), dpi=150)
    return content.getvalue()
