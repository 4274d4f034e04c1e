"""Second part of the proof: how near generated images come to what was memorized, beside the autoencoder's own error.

Distances are root mean squares over the memorized region, of pixel values in [0, 1]. An image cannot come nearer to its
template than the autoencoder's reconstruction of the template; chance is the distance to the other captions' images.
"""

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from memscan.scanner.bundle import Bundle
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.results.reader import Results
from memscan.scanner.scanning.images import to_model_range
from testbed.captions import CAPTIONS, Caption
from testbed.dataset import Mask, masks
from testbed.scanning import EXECUTION, image_keys, prompts_of

Picture = NDArray[np.float64]  # [H, W, 3] in [0, 1]


class Fidelity(NamedTuple):
    """Distances in the memorized region of one caption; `generated` and `worst` are mean and maximum over seeds."""

    caption: Caption
    generated: float
    worst: float
    autoencoder: float
    chance: float


def generated_images(results: Results) -> dict[str, list[Picture]]:
    """The images that a scan saved, by prompt."""
    prompts = prompts_of(results)
    images: dict[str, list[Picture]] = {}
    for key in image_keys(results):
        content = results.image_file(key)
        if content is None:
            raise FileNotFoundError(f"{results.path} holds no image of row {key[0]}, seed {key[1]}: scan with images")
        images.setdefault(prompts[key[0]], []).append(np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB")) / 255)
    return images


def fidelity(bundle: Bundle, results: Results, training_images: dict[str, NDArray[np.uint8]]) -> list[Fidelity]:
    """Distances for every memorized caption.

    Args:
        training_images: [H, W, 3] by prompt.
    """
    engine = open_graphs(bundle, EXECUTION)
    images = generated_images(results)
    found = []
    for caption in CAPTIONS:
        if caption.kind == "none":
            continue
        region, original = masks(caption).memorized, training_images[caption.prompt]
        decoded = engine.decode(engine.upload(engine.encode_image(to_model_range(original)[None])))[0]
        reconstruction = np.clip(decoded.transpose(1, 2, 0) / 2 + 0.5, 0, 1)
        own = [_distance(image, original / 255, region) for image in images[caption.prompt]]
        others = [
            _distance(image, original / 255, region)
            for prompt, group in images.items()
            if prompt != caption.prompt
            for image in group
        ]
        found.append(
            Fidelity(
                caption,
                float(np.mean(own)),
                max(own),
                _distance(reconstruction, original / 255, region),
                float(np.mean(others)),
            )
        )
    return found


def fidelity_lines(found: list[Fidelity]) -> Iterator[str]:
    """The table as text."""
    yield f"{'kind':<7}{'caption':<40} {'generated':>9} {'worst':>6} {'autoencoder':>11} {'chance':>6}"
    for row in found:
        yield (
            f"{row.caption.kind:<7}{row.caption.prompt:<40} {row.generated:>9.3f} {row.worst:>6.3f}"
            f" {row.autoencoder:>11.3f} {row.chance:>6.3f}"
        )


def _distance(a: NDArray[np.floating], b: NDArray[np.floating], region: Mask) -> float:
    return float(np.sqrt(((a - b)[region] ** 2).mean()))
