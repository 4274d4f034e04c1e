"""Collapse as training goes on: at a duplicated outlier it keeps growing, on a noisy manifold it stops (Fig. 6 and 7).

    python -m benchmarks.paper.progressive_overfitting [--steps 6000]

Points in the plane: a line along x_2 with noise of standard deviation s in x_1 (a manifold of rank 1), and one point,
duplicated, that is a share of the data. Small networks learn to predict the noise; measured is the collapse in x_1,
h_1 = sigma d eps_1 / d x_1, at alpha times the outlier and at alpha times points of the line.

What it should be on the line. Where the outlier is far away, x_1 of the data is N(m, s^2) independently of x_2, so that
x_t1 ~ N(alpha m, alpha^2 s^2 + sigma^2). The score there is -(x_t1 - alpha m) / (alpha^2 s^2 + sigma^2), eps_1 is
-sigma times that, and

    h_1 = sigma^2 / (alpha^2 s^2 + sigma^2)  < 1     for s > 0, however long the training
    h_1 = 1                                          at the outlier, s = 0

The paper's kappa_1 is h_1 / sigma^2. What both components together give is differentiated from the mixture.

A checkpoint as the less-trained baseline of the last one gives dh_base, its h_1 less than the last's: how much that
depends on the checkpoint is the sensitivity that the paper asks for in App. E.2, on this model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.gaussian_mixture import GaussianMixture
from benchmarks.paper.point_denoiser import Parameters, collapse, predict, train
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.sampling.ddim import ddim_timesteps
from memscan.scanner.sampling.schedule import Level, noise_level
from testbed import plots as figures

OUTLIER, LINE = (1.5, 0.0), (-1.0, 0.0)
NOISE, LENGTH = 0.3, 1.0  # standard deviations of the line in x_1 and along it
POINTS, COPIES = 3800, 200
MEASURED = 64  # points of the line
TIMESTEPS = (20, 200, 800)
NETWORKS = 5
EARLY = 1 / 3
"""The paper's baseline: 20,000 of 60,000 steps."""
CHECKPOINTS = 15
BASELINE = "baseline"
SAMPLES, SAMPLING_STEPS = 1000, 50
NEAR = 0.25
"""Distance from the outlier within which a sample counts as one of it."""


@dataclass(frozen=True)
class Moment:
    """After `step` steps: h_1 [timesteps, networks] at the outlier and on the line, and how often it is sampled."""

    step: int
    outlier: NDArray[np.float64]
    line: NDArray[np.float64]
    sampled: float


def closed_form(level: Level, deviation: float) -> float:
    """h of a Gaussian coordinate of this standard deviation."""
    return level.sigma**2 / (level.alpha**2 * deviation**2 + level.sigma**2)


def population() -> GaussianMixture:
    """What the points are drawn from; the outlier is its first component."""
    weights = torch.tensor([COPIES, POINTS], dtype=torch.float64)
    variances = torch.tensor([[0.0, 0.0], [NOISE**2, LENGTH**2]], dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), torch.tensor([OUTLIER, LINE], dtype=torch.float64), variances)


def points(seed: int = 0) -> Tensor:
    """The training data [POINTS + COPIES, 2], the line first."""
    spread = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([NOISE, LENGTH])
    return torch.cat([torch.tensor(LINE) + spread, torch.tensor(OUTLIER).expand(COPIES, 2)])


@torch.no_grad()
def share_near_outlier(parameters: Parameters, levels: list[Level]) -> float:
    """Share of samples near the outlier, by DDIM from the same noise each time; the last level is the clean one."""
    x = torch.randn(len(parameters[0]), SAMPLES, 2, generator=torch.Generator().manual_seed(1))
    for level, following in pairwise(levels):
        eps = predict(parameters, x, torch.full((SAMPLES,), level.sigma))
        x = following.alpha * (x - level.sigma * eps) / level.alpha + following.sigma * eps
    return float(((x - torch.tensor(OUTLIER)).norm(dim=-1) < NEAR).double().mean())


@click.command()
@click.option("--steps", default=6_000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(steps: int, out: Path) -> None:
    """Train, print the collapse at every checkpoint beside the closed form, and draw it."""
    torch.set_num_threads(1)
    schedule = open_bundle(BUNDLE).schedule
    levels = [noise_level(schedule, timestep) for timestep in TIMESTEPS]
    path = [noise_level(schedule, t) for t in ddim_timesteps(schedule, SAMPLING_STEPS)] + [Level(0, 1.0, 0.0)]
    data = points()
    at = sorted({*np.geomspace(100, steps, CHECKPOINTS).round().astype(int).tolist(), round(EARLY * steps)})
    moments = []
    for step, parameters in train(data, torch.tensor(schedule.alphas_cumprod, dtype=torch.float32), at, NETWORKS):
        measured = [_measured(parameters, data, level) for level in levels]
        outlier, line = (np.array(values) for values in zip(*measured, strict=True))
        moments.append(Moment(step, outlier, line, share_near_outlier(parameters, path)))
        click.echo(_line(moments[-1]))
    click.echo(f"\nshare of the outlier in the data: {COPIES / (COPIES + POINTS):.3f}\n")
    exact = [_exact(level, data) for level in levels]
    for line in (*_comparison(moments, levels, exact, round(EARLY * steps)), "", *_as_baselines(moments)):
        click.echo(line)
    _draw(moments, levels, exact, round(EARLY * steps), out / "progressive-overfitting.png")


def _measured(parameters: Parameters, data: Tensor, level: Level) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[networks] at the outlier and on the line, the mean of `MEASURED` points."""
    places = level.alpha * torch.cat([torch.tensor([OUTLIER]), data[:MEASURED]])
    h = collapse(parameters, places, level.sigma).detach().double().numpy()
    return h[:, 0], h[:, 1:].mean(axis=1)


def _line(moment: Moment) -> str:
    cells = [
        f"t={t}: outlier {outlier.mean():.3f}, line {line.mean():.3f}"
        for t, outlier, line in zip(TIMESTEPS, moment.outlier, moment.line, strict=True)
    ]
    return f"step {moment.step:>6}  " + "   ".join(cells) + f"   sampled {moment.sampled:.3f}"


def _exact(level: Level, data: Tensor) -> dict[str, float]:
    """h_1 of the population at the measured places."""
    places = {"outlier": torch.tensor([OUTLIER]), "line": data[:MEASURED]}
    mixture = population()
    return {name: float(mixture.collapse(level.alpha * x.double(), level)[:, 0].mean()) for name, x in places.items()}


def _comparison(moments: list[Moment], levels: list[Level], exact: list[dict[str, float]], early: int) -> Iterator[str]:
    """What each place has at a third of the training and at its end, beside what it should have."""
    at_early = next(moment for moment in moments if moment.step == early)
    yield "| t | place | h_1 at a third | h_1 at the end | change [95%] | component | mixture |"
    yield "|---|---|---|---|---|---|---|"
    for index, level in enumerate(levels):
        for name, deviation in (("outlier", 0.0), ("line", NOISE)):
            first, last = (getattr(moment, name)[index] for moment in (at_early, moments[-1]))
            change = last - first
            half = scipy.stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change))
            yield (
                f"| {level.timestep} | {name} | {first.mean():.3f} | {last.mean():.3f} "
                f"| {change.mean():+.3f} [{change.mean() - half:+.3f}, {change.mean() + half:+.3f}] "
                f"| {closed_form(level, deviation):.3f} | {exact[index][name]:.3f} |"
            )


def differences(moments: list[Moment], place: str) -> NDArray[np.float64]:
    """dh_base of the last moment against each as its baseline: [moments, timesteps, networks] at a place."""
    values = np.stack([getattr(moment, place) for moment in moments])
    return values[-1] - values


def _as_baselines(moments: list[Moment]) -> Iterator[str]:
    yield "dh_base at t = " + ", ".join(map(str, TIMESTEPS)) + ", means over networks\n"
    yield "| baseline's steps | outlier sampled | outlier | line |\n|---|---|---|---|"
    outlier, line = (differences(moments, place).mean(axis=2) for place in ("outlier", "line"))
    for index, moment in enumerate(moments[:-1]):
        cells = [" / ".join(f"{value:+.3f}" for value in values[index]) for values in (outlier, line)]
        yield f"| {moment.step} | {moment.sampled:.3f} | {cells[0]} | {cells[1]} |"


def _draw(moments: list[Moment], levels: list[Level], exact: list[dict[str, float]], early: int, path: Path) -> None:
    names = [f"t = {level.timestep}" for level in levels]
    figure, axes_of = figures.new_figure(10.4, 3.0, [[*names, BASELINE]], sharex=True, sharey=True)
    steps = [moment.step for moment in moments]
    for index, name in enumerate(names):
        axes = axes_of[name]
        for place, label, colour in (
            ("outlier", "duplicated outlier", figures.RED),
            ("line", "noisy line", figures.BLUE),
        ):
            values = np.stack([getattr(moment, place)[index] for moment in moments])  # [moments, networks]
            axes.plot(steps, values.mean(axis=1), color=colour, label=label)
            axes.fill_between(steps, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, linewidth=0)
            axes.axhline(exact[index][place], color=colour, linestyle="--", linewidth=1)
        axes.axvline(early, color=figures.GREY, linestyle=":", linewidth=1)
        axes.set(xscale="log", title=name, xlabel="training steps")
    for place, colour in (("outlier", figures.RED), ("line", figures.BLUE)):
        values = differences(moments, place)[:-1, 0]
        axes_of[BASELINE].plot(steps[:-1], values.mean(axis=1), color=colour)
        axes_of[BASELINE].fill_between(
            steps[:-1], values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, linewidth=0
        )
    axes_of[BASELINE].set(title=f"dh_base, t = {TIMESTEPS[0]}", xlabel="steps of the baseline")
    axes_of[BASELINE].axvline(early, color=figures.GREY, linestyle=":", linewidth=1)
    last = axes_of[names[-1]]
    last.plot([], [], color=figures.GREY, linestyle="--", linewidth=1, label="exact, of the data")
    last.plot([], [], color=figures.GREY, linestyle=":", linewidth=1, label="a third of the training")
    figure.legend(*last.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    axes_of[names[0]].set_ylabel("$h_1$ = $\\sigma\\,\\partial\\epsilon_1/\\partial x_1$")
    figures.save(figure, path)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
