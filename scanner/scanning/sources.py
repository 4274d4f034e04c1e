"""Where the noisy latents of a batch come from: sampled images, images that rows bring, or both beside each other.

A given image is not sampled but noised to each measured level, x_t = alpha x_0 + sigma noise(seed).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.scanning.images import to_model_range, to_pixels
from memscan.scanner.scanning.trajectory import Guidance, Trajectory

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class Source(Protocol):
    """The states of N images, and their pictures."""

    def at(self, index: int) -> Value:
        """x [N, C, h, w] at the noise level of the step `index`, on the device; indices ascend."""

    def measured(self, guidance: Guidance) -> None:
        """Make use of what was measured of all N images at the state that `at` gave last."""

    def pictures(self) -> Iterator[Pixels]:
        """N pictures, uint8 [H, W, 3]; asked for when no state is needed any more."""


class Sampled:
    """Images that are sampled; their pictures are what the VAE makes of the end of the trajectory."""

    def __init__(self, graphs: Graphs, trajectory: Trajectory, last_state: int) -> None:
        self._graphs = graphs
        self._trajectory = trajectory
        self._last_state = last_state

    def at(self, index: int) -> Value:
        return self._trajectory.at(index)

    def measured(self, guidance: Guidance) -> None:
        self._trajectory.measured(guidance)

    def pictures(self) -> Iterator[Pixels]:
        return map(to_pixels, self._graphs.decode(self._trajectory.at(self._last_state)))


class Given:
    """Images that rows bring, uint8 [H, W, 3] each, with their noise [N, C, h, w]."""

    def __init__(self, graphs: Graphs, steps: Sequence[SolverStep], images: Sequence[Pixels], noise: Array) -> None:
        self._graphs = graphs
        self._steps = steps
        self._images = images
        self._noise = noise
        self._x_0 = graphs.encode_image(np.stack([to_model_range(image) for image in images]))

    def noised(self, index: int) -> Array:
        """`at`, on the host."""
        level = self._steps[index].level
        return (level.alpha * self._x_0 + level.sigma * self._noise).astype(np.float32, copy=False)

    def at(self, index: int) -> Value:
        return self._graphs.upload(self.noised(index))

    def measured(self, guidance: Guidance) -> None:
        """Nothing is sampled."""

    def pictures(self) -> Iterator[Pixels]:
        return iter(self._images)


class Mixed:
    """Both in one batch: `sampled`, bool [N], says which images are."""

    def __init__(self, graphs: Graphs, drawn: Sampled, given: Given, sampled: NDArray[np.bool_]) -> None:
        self._graphs = graphs
        self._drawn, self._given, self._sampled = drawn, given, sampled

    def at(self, index: int) -> Value:
        drawn, given = self._graphs.download(self._drawn.at(index)), self._given.noised(index)
        x = np.empty((len(self._sampled), *given.shape[1:]), np.float32)
        x[self._sampled], x[~self._sampled] = drawn, given
        return self._graphs.upload(x)

    def measured(self, guidance: Guidance) -> None:
        eps, none = guidance
        self._drawn.measured(Guidance(eps[self._sampled], None if none is None else none[self._sampled]))

    def pictures(self) -> Iterator[Pixels]:
        drawn, given = self._drawn.pictures(), self._given.pictures()
        return (next(drawn if sampled else given) for sampled in self._sampled)
