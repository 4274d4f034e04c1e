"""What torch computes on random inputs, as the truth that written graphs are compared with: values, and v * (J v).

A `Case` holds arrays only, so that torch's weights can be freed before a runtime loads its own.
"""

import dataclasses
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memscan.export.autodiff.cut import CUTS, Cut
from memscan.export.checkpoint.components import Component
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.prediction import to_denoised, to_eps
from memscan.export.parity.detached import detached
from memscan.export.parity.detached_transformer import detached_transformer
from memscan.export.parity.observed import observed
from memscan.scanner import graph_names

Arrays = dict[str, NDArray]

_GUIDANCE = 3.0
_COEFFICIENTS = {"a": 1.1, "b": -0.3, "c": 0.2, "d": 0.4}
_LEVELS = {"timestep": (401.0, 21.5), "alpha": (0.6, 0.96), "sigma": (0.8, 0.28)}
"""Of the images of a batch; a timestep between two is one, too."""
_LARGE = 10**8
"""Parameters from which on one image is enough: each pass costs seconds."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs of a graph and the outputs that torch gives for them, by name."""

    feed: Arrays
    expected: Arrays


def component_case(module: Component, example: dict[str, Tensor]) -> Case:
    """A component on the example that it was traced with."""
    with torch.no_grad():
        outputs = module(**example)
    return Case(_arrays(example), _arrays(dict(zip(module.outputs, outputs, strict=True))))


class DenoiserOracle:
    """A denoiser on one batch of random inputs.

    Args:
        latent_shape: (C, h, w).
        text_shape: (S, D).
    """

    def __init__(
        self,
        denoiser: EpsDenoiser | FlowDenoiser,
        latent_shape: tuple[int, int, int],
        text_shape: tuple[int, int],
    ):
        self._denoiser = denoiser
        self._latent_shape = latent_shape
        batch = 1 if sum(parameter.numel() for parameter in denoiser.parameters()) > _LARGE else 2
        shapes = denoiser.input_shapes(batch, latent_shape, text_shape)
        generator = torch.Generator().manual_seed(0)
        self._inputs = {
            name: torch.tensor(_LEVELS[name][:batch]) if name in _LEVELS else torch.randn(shape, generator=generator)
            for name, shape in shapes.items()
        }

    def measure(self, tangents: int, cut: Cut = CUTS["exact"]) -> Case:
        """eps and the sum of v * (J v) by torch's own forward mode, J the derivative along the paths that `cut` leaves.

        All tangents but the first and the last are zero: torch's forward mode costs passes for each.
        """
        sample = self._inputs["sample"]
        probes = torch.zeros(tangents, *sample.shape)
        for index in {0, tangents - 1}:
            probes[index] = torch.randn(sample.shape, generator=torch.Generator().manual_seed(1 + index))

        def predict(x: Tensor) -> Tensor:
            return self._predict(sample=x)

        total = torch.zeros_like(sample)
        with torch.no_grad(), self._detached(cut):
            for probe in probes[probes.flatten(1).any(1)]:
                eps, jv = torch.func.jvp(predict, (sample,), (probe,))
                total += probe * jv
        return Case(_arrays({**self._inputs, "tangents": probes}), _arrays({"eps": eps, "v_dot_jv": total}))

    def observe(self) -> Case:
        """What a UNet attends to in the text, and its bottleneck's activation."""
        assert isinstance(self._denoiser, EpsDenoiser)
        with torch.no_grad(), observed(self._denoiser.unet) as seen:
            self._predict()
        return Case(_arrays(self._inputs), _arrays(seen.outputs(self._latent_shape)))

    def condition(self) -> Case:
        """eps and J_c (c - c_0) by torch's own forward mode, c all encodings."""
        cond, uncond = self._texts(torch.Generator().manual_seed(3))
        names = list(cond)

        def predict(*encodings: Tensor) -> Tensor:
            return self._predict(**dict(zip(names, encodings, strict=True)))

        direction = tuple(cond[name] - uncond[name] for name in names)
        with torch.no_grad(), self._detached(CUTS["exact"]):
            eps, product = torch.func.jvp(predict, tuple(cond.values()), direction)
        feed = {**self._inputs, **{graph_names.uncond(name): value for name, value in uncond.items()}}
        return Case(_arrays(feed), _arrays({"eps": eps, "condition_product": product}))

    def step(self) -> Case:
        """One guided solver step."""
        generator = torch.Generator().manual_seed(2)
        _, uncond = self._texts(generator)
        with torch.no_grad():
            without, given = (self._denoiser.predict(**{**self._inputs, **text}) for text in (uncond, {}))
        case = self._stepped(without + _GUIDANCE * (given - without), generator)
        encodings = {graph_names.uncond(name): value for name, value in uncond.items()}
        feed = {**case.feed, **_arrays(encodings), "guidance_scale": np.array(_GUIDANCE, np.float32)}
        each = _arrays({"eps": self._to_eps(given), "uncond_eps": self._to_eps(without)})
        return Case(feed, {**case.expected, **each})

    def unguided_step(self) -> Case:
        """One solver step with the prompt alone."""
        with torch.no_grad():
            predicted = self._denoiser.predict(**self._inputs)
        return self._stepped(predicted, torch.Generator().manual_seed(2))

    def _stepped(self, predicted: Tensor, generator: torch.Generator) -> Case:
        """A solver step with what the denoiser is taken to have predicted; its eps is among what is expected."""
        sample, kind = self._inputs["sample"], self._denoiser.prediction_type
        previous = torch.randn(sample.shape, generator=generator)
        eps = self._to_eps(predicted)
        denoised = to_denoised(kind, predicted, sample, self._inputs["alpha"], self._inputs["sigma"])
        scale = _COEFFICIENTS
        update = scale["a"] * sample + scale["b"] * eps + scale["c"] * previous + scale["d"] * denoised
        scalars = {name: np.array(value, np.float32) for name, value in _COEFFICIENTS.items()}
        expected = {"next_sample": update, "denoised": denoised, "eps": eps}
        return Case({**_arrays({**self._inputs, "previous_denoised": previous}), **scalars}, _arrays(expected))

    def _to_eps(self, predicted: Tensor) -> Tensor:
        level = self._inputs["sample"], self._inputs["alpha"], self._inputs["sigma"]
        return to_eps(self._denoiser.prediction_type, predicted, *level)

    def _texts(self, generator: torch.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Encodings of a prompt, and others that are drawn for none."""
        cond = {name: value for name, value in self._inputs.items() if name not in ("sample", *graph_names.SHARED)}
        return cond, {name: torch.randn(value.shape, generator=generator) for name, value in cond.items()}

    def _detached(self, cut: Cut) -> AbstractContextManager[None]:
        denoiser = self._denoiser
        if isinstance(denoiser, FlowDenoiser):
            return detached_transformer(denoiser.network, cut)
        return detached(denoiser.unet, cut)

    def _predict(self, **changed: Tensor) -> Tensor:
        prediction: Tensor = self._denoiser(**{**self._inputs, **changed})
        return prediction


def _arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
