"""What the denoiser is measured at: x_t of a bench's images at some noise levels, and the encodings of its prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import Image
from memscan.scanner.bundle import Bundle
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.model.text import PromptEncoder, Tokenizer
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.sampling.samplers import moves, sampler_steps, sampler_timesteps

Array = NDArray[np.float32]
TEXT = "encoder_hidden_states"
STEPS = 10
GUIDANCE = 1.5


class Drawn(NamedTuple):
    """N images on their way: `states` and `differences`, eps given the prompt less eps given none, by timestep,
    [N, C, h, w] each; `texts` [N, S, D] by condition.
    """

    states: dict[int, Array]
    differences: dict[int, Array]
    texts: dict[str, Array]


def draw(bundle: Bundle, graphs: Graphs, images: Sequence[Image], timesteps: Sequence[int], file: Path) -> Drawn:
    """Ten steps of DPM-Solver++, of which the nearest are moved to `timesteps`; kept in `file`."""
    if not file.exists():
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, **_flat(_drawn(bundle, graphs, images, timesteps)))
        unfinished.rename(file)
    with np.load(file) as stored:
        return _named(stored)


def _drawn(bundle: Bundle, graphs: Graphs, images: Sequence[Image], timesteps: Sequence[int]) -> Drawn:
    tokenizer, encode = Tokenizer(bundle), PromptEncoder(bundle, graphs)
    encoded = [encode(tokenizer(image.prompt)) for image in images]
    texts = {
        "prompt": np.stack([text.cond[TEXT] for text in encoded]),
        "none": np.stack([encode.unconditional(tokenizer)[TEXT]] * len(images)),
        "baseline": np.stack([text.baseline[TEXT] for text in encoded]),
    }
    own = sampler_timesteps(bundle.schedule, "dpmsolver++", STEPS)
    moved = moves(own, timesteps, bundle.schedule)
    noise = initial_latents([image.seed for image in images], bundle.latent_shape)
    sample, denoised = graphs.upload(noise), graphs.upload(np.zeros_like(noise))
    cond, uncond = ({TEXT: graphs.upload(texts[condition])} for condition in ("prompt", "none"))
    states, differences = {}, {}
    for step in sampler_steps(bundle.schedule, "dpmsolver++", STEPS, moved):
        answer = graphs.step(sample, step, cond, uncond, denoised, GUIDANCE)
        timestep = int(step.level.timestep)
        states[timestep] = graphs.download(sample).copy()
        differences[timestep] = graphs.download(answer.eps) - graphs.download(answer.uncond_eps)
        sample, denoised = answer.next_sample, answer.denoised
    return Drawn(states, differences, texts)


def _flat(drawn: Drawn) -> dict[str, Array]:
    return {f"{field}/{key}": array for field, arrays in drawn._asdict().items() for key, array in arrays.items()}


def _named(stored: np.lib.npyio.NpzFile) -> Drawn:
    found: dict[str, dict] = {field: {} for field in Drawn._fields}
    for name in stored.files:
        field, key = name.split("/")
        found[field][int(key) if field != "texts" else key] = stored[name]
    return Drawn(**found)
