"""Same dimension, same sharpness, another place: coordinate-wise curvature of two Gaussians (the paper's Fig. 2).

    python -m benchmarks.paper.linear_gaussian [--timestep 101]

    x_0 = A z + tau e,  z ~ N(0, I_r),  e ~ N(0, I_n),  A of rank r, and of the same Frobenius norm in both

    concentrated   A's rows are unit vectors on half of the coordinates and zero on the other half
    spread         A's rows all have the same norm: r random columns of a Hadamard matrix, its rows shuffled

With Sigma = A A^T + tau^2 I, the exact noise prediction at x_t is linear, eps = J (x - alpha m), and

    J = sigma (alpha^2 Sigma + sigma^2 I)^-1,        h = sigma diag(J)

J has the same eigenvalues in both, so that no function of them (dimension, FLIPD, trace, norm) tells them apart; h
does. The estimate of h by K probes is memscan's own, as a scan makes it. For K random signs its error is known:

    Var h_i = sigma^2 / K  sum_(j != i) J_ij^2
"""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.metrics.hutchinson import estimate, probe_groups
from memscan.scanner.metrics.probes import hadamard_counts, make_probes
from memscan.scanner.sampling.schedule import Level, noise_level
from memscan.scanner.settings import ProbeKind, Probes
from testbed import plots as figures

LATENT = (4, 8, 8)
NOISE = 0.02  # tau, beside 1 for what is free
RANDOM_COUNTS = (1, 2, 4, 8, 16, 32, 64)
PROBE_SEEDS = 20
ERROR_TICKS = (0.05, 0.1, 0.2, 0.5, 1.0)
GROUP = 8  # tangents a call, as in the embedded bundle

Vector = NDArray[np.float64]  # LATENT
Matrix = NDArray[np.float64]  # [n, n], n coordinates of LATENT in C order


@dataclass(frozen=True)
class LinearGaussian:
    """x_0 = A z + NOISE e, by its `factor` A [n, r]."""

    name: str
    factor: Matrix

    def jacobian(self, level: Level) -> Matrix:
        """J = d eps / d x_t of the exact noise prediction."""
        identity = np.eye(len(self.factor))
        covariance = self.factor @ self.factor.T + NOISE**2 * identity
        return level.sigma * np.linalg.inv(level.alpha**2 * covariance + level.sigma**2 * identity)


def concentrated() -> LinearGaussian:
    """The left half of the frame is free, the right half fixed."""
    size = int(np.prod(LATENT))
    free = np.broadcast_to(np.arange(LATENT[2]) < LATENT[2] // 2, LATENT).ravel()
    return LinearGaussian("concentrated", np.eye(size)[:, free])


def spread() -> LinearGaussian:
    """As many degrees of freedom, shared evenly by all coordinates."""
    size = int(np.prod(LATENT))
    generator = np.random.default_rng(0)
    rows, columns = generator.permutation(size), generator.permutation(size)[: size // 2]
    return LinearGaussian("spread", hadamard(size)[np.ix_(rows, columns)] / np.sqrt(size))


def collapse(jacobian: Matrix, level: Level) -> Vector:
    """h = sigma diag(J)."""
    return level.sigma * np.diag(jacobian).reshape(LATENT)


def estimated(jacobian: Matrix, level: Level, probes: Probes) -> Vector:
    """The same by memscan's estimator, which sees products J v only."""

    def measure(tangents: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        flat = tangents.reshape(len(tangents), -1)
        total = (flat * (flat @ jacobian.T)).sum(axis=0).reshape(LATENT).astype(np.float32)
        return np.zeros(LATENT, np.float32), total

    groups = probe_groups(make_probes(probes, LATENT), GROUP)
    return level.sigma * estimate(measure, groups, probes.count).diagonal.astype(np.float64)


def relative_error(jacobian: Matrix, level: Level, kind: ProbeKind, count: int) -> float:
    """Root mean square error of the estimate over coordinates and `PROBE_SEEDS` draws, in units of the mean of h."""
    exact = collapse(jacobian, level)
    errors = [estimated(jacobian, level, Probes(kind, count, seed)) - exact for seed in range(PROBE_SEEDS)]
    return float(np.sqrt(np.square(errors).mean()) / exact.mean())


def predicted_error(jacobian: Matrix, level: Level, count: int) -> float:
    """`relative_error` of `count` random signs, in closed form."""
    off_diagonal = jacobian - np.diag(np.diag(jacobian))
    variance = level.sigma**2 * np.square(off_diagonal).sum(axis=1) / count
    return float(np.sqrt(variance.mean()) / collapse(jacobian, level).mean())


@click.command()
@click.option("--timestep", default=101, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(timestep: int, out: Path) -> None:
    """Print what tells the two apart and what does not, the error of the estimates, and draw both."""
    level = noise_level(open_bundle(BUNDLE).schedule, timestep)
    models = (concentrated(), spread())
    jacobians = {model.name: model.jacobian(level) for model in models}
    click.echo(f"timestep {timestep}, sigma^2 {level.sigma**2:.4f}, {np.prod(LATENT)} coordinates\n")
    click.echo(
        "| model | rank A | norm A | sum of h | norm of J | least h | greatest h |\n|---|---|---|---|---|---|---|"
    )
    for model in models:
        jacobian, h = jacobians[model.name], collapse(jacobians[model.name], level)
        click.echo(
            f"| {model.name} | {np.linalg.matrix_rank(model.factor)} | {np.linalg.norm(model.factor):.4f} "
            f"| {h.sum():.4f} | {np.linalg.norm(jacobian):.4f} | {h.min():.4f} | {h.max():.4f} |"
        )
    click.echo(f"\nRelative error of h, {PROBE_SEEDS} draws\n\n| model | probes | K | error | closed form |")
    click.echo("|---|---|---|---|---|")
    errors: dict[tuple[str, ProbeKind], dict[int, float]] = {}
    for model in models:
        counts: dict[ProbeKind, tuple[int, ...]] = {
            "rademacher": RANDOM_COUNTS,
            "hadamard": hadamard_counts(LATENT[0]),
        }
        for kind, of_kind in counts.items():
            jacobian = jacobians[model.name]
            found = {count: relative_error(jacobian, level, kind, count) for count in of_kind}
            errors[model.name, kind] = found
            for count, error in found.items():
                known = f"{predicted_error(jacobian, level, count):.4f}" if kind == "rademacher" else ""
                click.echo(f"| {model.name} | {kind} | {count} | {error:.4f} | {known} |")
    path = out / "linear-gaussian.png"
    _draw(jacobians, level, errors, path)
    click.echo(f"\n{path}")


def _draw(
    jacobians: dict[str, Matrix], level: Level, errors: dict[tuple[str, ProbeKind], dict[int, float]], path: Path
) -> None:
    mosaic = [["concentrated", "spread", "error"]]
    figure, axes_of = figures.new_figure(9.0, 2.7, mosaic, width_ratios=[1, 1, 1.7])
    for name, jacobian in jacobians.items():
        shown = collapse(jacobian, level).mean(axis=0)
        image = figures.show_map(axes_of[name], shown, f"{name}: exact h", cmap=figures.HEAT, vmin=0, vmax=1)
    figure.colorbar(image, ax=axes_of["spread"], shrink=0.8, label="h, channel mean")
    axes = axes_of["error"]
    counts = np.array(RANDOM_COUNTS)
    known = [predicted_error(jacobians["spread"], level, count) for count in counts]
    axes.loglog(counts, known, color=figures.GREY, linestyle="--", label="random signs, closed form")
    for kind, label, colour in (
        ("rademacher", "random signs, estimated", figures.BLUE),
        ("hadamard", "Hadamard, estimated", figures.ORANGE),
    ):
        found = errors["spread", kind]
        axes.loglog(list(found), list(found.values()), "o", color=colour, markersize=5, label=label)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_yticks(ERROR_TICKS, [str(tick) for tick in ERROR_TICKS])
    axes.minorticks_off()
    axes.set(xlabel="probes K", ylabel="error / mean of h", title="error where it is spread (concentrated: 0)")
    axes.legend(loc="upper right")
    figures.save(figure, path)


if __name__ == "__main__":
    main()
