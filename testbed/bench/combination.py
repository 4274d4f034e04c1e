"""Do detectors together tell more than the best alone? Logistic regressions, fitted on calibration captions.

Of scores: all columns of all variants, for copied in at least half of the seeds against never copying anything. Of
maps: all maps of the latents' size at a cell, for whether it is memorized, of local captions copied in at least half of
the seeds. Features are standardized; how strongly weights are pulled to zero is chosen by cross-validation over the
calibration captions.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memscan.scanner.calibration.thresholds import best_threshold
from testbed.bench.heldout import Judged, Variants, auc, detections, heldout, localization, often_local
from testbed.bench.measured import Measured

RIDGES = (10.0, 1.0, 0.1, 0.01)  # beside the loss of all observations, these times the square of the weights
FOLDS = 5
ITERATIONS = 200
NAME = "combination"


def fit_logistic(features: NDArray[np.floating], label: NDArray[Any], ridge: float) -> NDArray[np.float64]:
    """Weights [F + 1] of features [N, F], the constant last, for labels [N] in [0, 1]."""
    x, y = torch.from_numpy(features.astype(np.float64)), torch.from_numpy(label.astype(np.float64))
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = x @ weights[:-1] + weights[-1]
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
        total = total + ridge / len(y) * weights[:-1].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weights.detach().numpy()


def best_ridge(features: NDArray[np.floating], label: NDArray[Any], captions: NDArray[np.intp]) -> float:
    """The one of `RIDGES` with the least loss on captions [N] that were left out, a fold of them at a time."""
    _, group = np.unique(captions, return_inverse=True)
    losses = []
    for ridge in RIDGES:
        total = 0.0
        for fold in range(FOLDS):
            out = group % FOLDS == fold
            if out.any() and not out.all():
                weights = fit_logistic(features[~out], label[~out], ridge)
                logits = features[out] @ weights[:-1] + weights[-1]
                total += float((np.logaddexp(0, logits) - label[out] * logits).sum())
        losses.append(total)
    return RIDGES[int(np.argmin(losses))]


def standardized(features: NDArray[np.floating], of: NDArray[np.floating]) -> NDArray[np.float64]:
    """Features [N, F] in standard deviations of others [M, F] from their mean."""
    spread = of.std(axis=0)
    return ((features - of.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float64)


def combined(variants: Variants) -> Iterator[Judged]:
    """The two combinations on held-out captions, where the calibration captions suffice to fit them."""
    images = next(iter(variants.values()))
    columns = np.stack([one.scores[name] for one in variants.values() for name in one.scores], axis=1)
    learned = (images.splits == "calibration") & (images.positive | images.negative)
    if len(np.unique(images.positive[learned])) == 2:
        features = standardized(columns, columns[learned])
        known, label = features[learned], images.positive[learned]
        weights = fit_logistic(known, label, best_ridge(known, label, images.captions[learned]))
        values = features @ weights[:-1]
        before = auc(images.of(learned), values[learned])
        held = images.splits == "heldout"
        yield from detections(images.of(held), values[held], NAME, f"{columns.shape[1]} scores", before or 0.0)
    yield from _localized(variants)


def _localized(variants: Variants) -> Iterator[Judged]:
    every = list(variants.values())
    learned = [often_local(images.of(images.splits == "calibration")) for images in every]
    held = [often_local(heldout(images)) for images in every]
    if not (len(learned[0].local) and len(held[0].local)):
        return
    shape = max((maps.shape[1:] for images in every for maps in images.maps.values()), key=np.prod)
    names = [
        (i, name) for i, images in enumerate(every) for name, maps in images.maps.items() if maps.shape[1:] == shape
    ]
    cells = cell_features(learned, names)
    truth = learned[0].truth[names[0][1]]
    features, captions = standardized(cells, cells), learned[0].captions[learned[0].local]
    ridge = best_ridge(features, truth.ravel(), np.repeat(captions, truth[0].size))
    weights = fit_logistic(features, truth.ravel(), ridge)
    known = (features @ weights[:-1]).reshape(truth.shape)
    found = (standardized(cell_features(held, names), cells) @ weights[:-1]).reshape(-1, *shape)
    best = best_threshold(known, truth)
    yield localization(
        held[0], found >= best.threshold, held[0].truth[names[0][1]], NAME, f"{len(names)} maps", best.iou
    )


def cell_features(images: list[Measured], names: list[tuple[int, str]]) -> NDArray[np.float64]:
    """Values [L h w, F] of maps, each named by its variant's position and its name."""
    return np.stack([images[i].maps[name].ravel() for i, name in names], axis=1).astype(np.float64)
