"""All of a sample's work that needs no device: its tokens, its noise, and the pictures that it brings.

Samples come in batches, which is faster; what becomes of one does not depend on the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import RowError
from memscan.scanner.model.text import Tokenizer, Tokens
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.sampling.noise import check_seed, initial_latents
from memscan.scanner.scanning.channels import Shown, shown_to
from memscan.scanner.scanning.images import GivenImage, load_image
from memscan.scanner.settings import Measurement


class Prepared(NamedTuple):
    """A sample that is ready for the device.

    `image` is the one that it brings, or None; `shown` what a denoiser that takes pictures is shown.
    """

    sample: Sample
    tokens: Tokens
    noise: NDArray[np.float32]  # [C, h, w]
    image: GivenImage | None
    shown: Shown | None = None


class _Checked(NamedTuple):
    tokens: Tokens
    image: GivenImage | None
    shown: Shown | None


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
        self._generator = np.random.MT19937()
        self.tokenizer = Tokenizer(bundle)

    def __call__(self, samples: Sequence[Sample]) -> list[Prepared | Rejected]:
        """The samples, in their order, each prepared, or rejected for its seed, prompt or image."""
        spelled = self.tokenizer.each([sample.prompt for sample in samples])
        found = [self._checked(sample, tokens) for sample, tokens in zip(samples, spelled, strict=True)]
        seeds = [one.seed for one, its in zip(samples, found, strict=True) if not isinstance(its, Rejected)]
        noise = iter(initial_latents(seeds, self._bundle.latent_shape, self._stream, self._generator))
        return [
            its if isinstance(its, Rejected) else Prepared(one, its.tokens, next(noise), its.image, its.shown)
            for one, its in zip(samples, found, strict=True)
        ]

    def _checked(self, sample: Sample, tokens: Tokens | RowError) -> _Checked | Rejected:
        try:
            if sample.image is not None and self._score_needs_sampling:
                raise RowError(f"the score {self._score_name} is of sampling, and this row brings its own image")
            check_seed(sample.seed)
            image = None if sample.image is None else load_image(sample.image, self._bundle.image_size, self._fit)
            if isinstance(tokens, RowError):
                raise tokens
            return _Checked(tokens, image, shown_to(self._bundle, sample, self._fit))
        except RowError as error:
            given = sample.image is not None
            return Rejected(sample.row, sample.seed, sample.prompt, str(error), sample.id, sample.carried, given)
