"""A runtime that computes nothing: graphs give constants of the right shapes, so that memscan's own work is left."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.settings import DERIVATIVES

Array = NDArray[np.float32]


class NullRuntime:
    """Values are numpy arrays. Responses differ from cell to cell and with the prompt, so that masks have an outline.

    Args:
        width: of the text encodings, which no bundle states.
    """

    device = "nothing"
    remark = None

    def __init__(self, bundle: Bundle, usual_batch: int, width: int = 64) -> None:
        self.usual_batch = usual_batch
        self.loaded: Mapping[str, str] = {}
        self._latent_shape = bundle.latent_shape
        self._text_shape = bundle.text.length, width
        self._latents: dict[int, tuple[Array, Array]] = {}

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def download(self, value: NDArray[Any]) -> NDArray[Any]:
        return value

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        name = graph.removeprefix(f"{graph_names.BASELINE}/")
        match name:
            case graph_names.TEXT_ENCODER:
                return {"encoder_hidden_states": np.zeros((len(inputs["input_ids"]), *self._text_shape), np.float32)}
            case graph_names.STEP:
                return dict.fromkeys(("next_sample", "denoised", "eps", "uncond_eps"), inputs["sample"])
            case graph_names.UNGUIDED:
                return dict.fromkeys(("next_sample", "denoised", "eps"), inputs["sample"])
            case _ if name in map(graph_names.measure, DERIVATIVES):
                eps, diagonal = self._responses(len(inputs["sample"]))
                if graph == name:
                    return {"eps": eps, "v_dot_jv": diagonal}
                return {"eps": diagonal, "v_dot_jv": eps}
        raise ValueError(f"a null runtime has no {graph}")

    def _responses(self, count: int) -> tuple[Array, Array]:
        if count not in self._latents:
            eps, diagonal = np.random.default_rng(0).normal(size=(2, count, *self._latent_shape))
            self._latents = {count: (eps.astype(np.float32), diagonal.astype(np.float32))}
        return self._latents[count]
