"""All of a sample's work that needs no device: its tokens, its noise, and the picture that it brings."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import RowError
from memscan.scanner.model.text import Tokenizer, Tokens
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.scanning.images import GivenImage, load_image
from memscan.scanner.settings import Measurement


class Prepared(NamedTuple):
    """A sample that is ready for the device. `image` is the one that it brings, or None."""

    sample: Sample
    tokens: Tokens
    noise: NDArray[np.float32]  # [C, h, w]
    image: GivenImage | None


class Preparer:
    """Prepares samples, in any one thread.

    Raises:
        BundleError: `tokenizer.json` is malformed.
    """

    def __init__(self, bundle: Bundle, measurement: Measurement) -> None:
        self._bundle = bundle
        self._stream = measurement.stream
        self._fit = measurement.fit
        self._score_name = measurement.score_name
        self._score_needs_sampling = SCORE_COLUMNS[measurement.score_name].when != "measured"
        self._generator = np.random.RandomState()
        self.tokenizer = Tokenizer(bundle)

    def __call__(self, sample: Sample) -> Prepared | Rejected:
        """The sample, prepared, or rejected for its seed, prompt or image."""
        try:
            if sample.image is not None and self._score_needs_sampling:
                raise RowError(f"the score {self._score_name} is of sampling, and this row brings its own image")
            noise = initial_latents(sample.seed, self._bundle.latent_shape, self._stream, self._generator)
            image = None if sample.image is None else load_image(sample.image, self._bundle.image_size, self._fit)
            return Prepared(sample, self.tokenizer(sample.prompt), noise, image)
        except RowError as error:
            given = sample.image is not None
            return Rejected(sample.row, sample.seed, sample.prompt, str(error), sample.id, sample.carried, given)
