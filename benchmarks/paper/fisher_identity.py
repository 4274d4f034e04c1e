"""The Fisher information identity behind the score difference (the paper's Prop. 4.2), and how far it carries.

    python -m benchmarks.paper.fisher_identity --work DIR

For the true conditional and unconditional densities, coordinate by coordinate and at every x_t,

    E_c~p(c|x_t) [dh_uncond] = E_c~p(c|x_t) [ds_uncond],    dh = h_c - h_0,  ds = (eps_c - eps_0)^2

First a mixture of Gaussians whose components are the captions, where all of it is exact: the last caption is rare and
memorized on half of the coordinates. h_0 is differentiated from log p, not derived from the identity. What a scan
sees is one term of the expectation, that of its own prompt. Then the embedded model, whose two branches are not those
of one density: of its memorized captions p(c|x_t) is almost 1 at low noise, so that one term is the expectation.
"""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.embedded_scan import TIMESTEPS, embedded_scan
from benchmarks.paper.gaussian_mixture import GaussianMixture
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.evaluation.overlap import Interval, percentile_interval, resampled
from memscan.scanner.results.reader import Results
from memscan.scanner.sampling.schedule import Level, noise_level
from testbed import plots as figures
from testbed.captions import CAPTIONS
from testbed.cells import cover
from testbed.dataset import masks
from testbed.scanning import image_keys, prompts_of, step_indices

COORDINATES = 16
ORDINARY = 4
MEMORIZED_SHARE = 0.05
COLLAPSED_VARIANCE = 1e-4
EXACT_TIMESTEPS = (1, 21, 101, 201, 401, 601, 801)
DRAWS = 1500


@dataclass(frozen=True)
class Exact:
    """The mixture at one noise level.

    `gap` is the greatest difference of the two expectations over all draws and coordinates. The others are of the
    memorized caption's own draws on its memorized coordinates: means of dh, ds and p(c|x_t) of that one caption.
    """

    level: Level
    gap: float
    curvature: float
    score: float
    posterior: float


@dataclass(frozen=True)
class Embedded:
    """Memorized cells of the embedded model at one timestep: means of dh and ds, their ratio, their correlation."""

    timestep: int
    curvature: float
    score: float
    interval: Interval
    correlation: float

    @property
    def ratio(self) -> float:
        """ds over dh; the identity says 1."""
        return self.score / self.curvature


def captions_as_gaussians(seed: int = 0) -> GaussianMixture:
    """`ORDINARY` captions of unit variance, and a rare one, the last, that is collapsed on the first half."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(ORDINARY + 1, COORDINATES, generator=generator, dtype=torch.float64)
    variances = torch.ones_like(means)
    variances[-1, : COORDINATES // 2] = COLLAPSED_VARIANCE
    shares = [(1 - MEMORIZED_SHARE) / ORDINARY] * ORDINARY + [MEMORIZED_SHARE]
    return GaussianMixture(torch.tensor(shares, dtype=torch.float64), means, variances)


def expectations(mixture: GaussianMixture, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """E_c~p(c|x_t) of dh and of ds, each [N, n], at x [N, n]."""
    dh, ds = differences(mixture, x, level)
    posterior = mixture.posterior(x, level)[..., None]
    return (posterior * dh).sum(1), (posterior * ds).sum(1)


def differences(mixture: GaussianMixture, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """dh_uncond and ds_uncond of every caption, each [N, M, n], at x [N, n]."""
    dh = mixture.collapse_of_each(level) - mixture.collapse(x, level)[:, None]
    ds = (mixture.eps_of_each(x, level) - mixture.eps(x, level)[:, None]).square()
    return dh, ds


def exact_at(mixture: GaussianMixture, level: Level) -> Exact:
    """Both sides of the identity at `DRAWS` draws of x_t."""
    x, drawn = mixture.sample(DRAWS, level, seed=0)
    left, right = expectations(mixture, x, level)
    own = x[drawn == len(mixture.weights) - 1]
    dh, ds = (of_each[:, -1, : COORDINATES // 2].mean().item() for of_each in differences(mixture, own, level))
    return Exact(level, (left - right).abs().max().item(), dh, ds, mixture.posterior(own, level)[:, -1].mean().item())


def embedded_at(results: Results, timestep: int) -> Embedded:
    """dh_uncond and ds_uncond on the cells that lie wholly in what is memorized; the bootstrap is over captions."""
    keys, prompts = image_keys(results), prompts_of(results)
    captions = {caption.prompt: caption for caption in CAPTIONS}
    index = step_indices(results)[timestep]
    dh, ds = (results.maps(name, index, keys).astype(np.float64) for name in ("dh_uncond", "ds_uncond"))
    inside = np.stack([cover(masks(captions[prompts[row]]).memorized, dh.shape[1:]) == 1 for row, _ in keys])
    rows = np.array([row for row, _ in keys])
    memorized = [row for row in np.unique(rows) if inside[rows == row].any()]
    sums = np.array([[values[rows == row][inside[rows == row]].sum() for row in memorized] for values in (dh, ds)])
    weights = resampled(len(memorized), np.random.default_rng(0))
    replicates: NDArray[np.float64] = (weights @ sums[1]) / (weights @ sums[0])
    correlation = float(np.corrcoef(dh[inside], ds[inside])[0, 1])
    return Embedded(timestep, dh[inside].mean(), ds[inside].mean(), percentile_interval(replicates), correlation)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the scan.")
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(work: Path, out: Path) -> None:
    """Check the identity where all is exact, then measure both sides on the embedded model."""
    schedule, mixture = open_bundle(BUNDLE).schedule, captions_as_gaussians()
    click.echo("A true density, exact\n\n| t | greatest gap | dh of the prompt | ds of the prompt | p(c given x_t) |")
    click.echo("|---|---|---|---|---|")
    exact = [exact_at(mixture, noise_level(schedule, timestep)) for timestep in EXACT_TIMESTEPS]
    for row in exact:
        figures_of = f"{row.curvature:.4f} | {row.score:.4f} | {row.posterior:.4f}"
        click.echo(f"| {row.level.timestep} | {row.gap:.1e} | {figures_of} |")
    results = embedded_scan(work)
    click.echo(
        "\nThe embedded model, memorized cells\n\n| t | dh | ds | ds / dh [95%] | correlation |\n|---|---|---|---|---|"
    )
    embedded = [embedded_at(results, timestep) for timestep in TIMESTEPS]
    for one in embedded:
        ratio = f"{one.ratio:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}]"
        click.echo(f"| {one.timestep} | {one.curvature:.3f} | {one.score:.3f} | {ratio} | {one.correlation:.2f} |")
    x, _ = mixture.sample(100, noise_level(schedule, 401), seed=0)
    sides = [side.ravel().numpy() for side in expectations(mixture, x, noise_level(schedule, 401))]
    _draw(sides, exact, embedded, out / "fisher-identity.png")


def _draw(sides: list[NDArray[np.float64]], exact: list[Exact], embedded: list[Embedded], path: Path) -> None:
    mosaic = [["identity", "exact", "embedded"]]
    figure, axes_of = figures.new_figure(9.0, 2.9, mosaic)
    axes = axes_of["identity"]
    axes.axline((0, 0), slope=1, color=figures.GREY, linewidth=1)
    axes.plot(*sides, ".", color=figures.BLUE, markersize=2)
    axes.set(xlabel="E[dh_uncond]", ylabel="E[ds_uncond]", title="true density, t = 401: every point")
    for name, title, timesteps, values in (
        ("exact", "true density, its own prompt", [row.level.timestep for row in exact], exact),
        ("embedded", "embedded model, its own prompt", [row.timestep for row in embedded], embedded),
    ):
        axes = axes_of[name]
        axes.plot(timesteps, [row.curvature for row in values], "o-", color=figures.BLUE, label="dh_uncond")
        axes.plot(timesteps, [row.score for row in values], "s-", color=figures.ORANGE, label="ds_uncond")
        axes.set(xlabel="timestep t", ylabel="mean where memorized", title=title)
        axes.set_ylim(bottom=0)
        axes.legend()
    figures.save(figure, path)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
