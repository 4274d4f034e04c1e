"""The denoiser of coordinate-wise Gaussian data in closed form: what a scan of the analytic bundle must find.

If coordinate i of x_0 is N(m_i, s_i^2) given the prompt, the exact noise prediction at x_t = alpha x_0 + sigma noise is

    eps_i = sigma / (alpha^2 s_i^2 + sigma^2) (x_i - alpha m_i)
    h_i = sigma d eps_i / d x_i = sigma^2 / (alpha^2 s_i^2 + sigma^2)

Words set the variances and the means: "memorized" collapses the left half of the latent, "copied" all of it, "broken"
makes every number NaN. log s^2 and m are linear in the sum of the prompt's word features.

It attends to its tokens by made-up scores; its bottleneck is a mean over squares of pixels, larger with every word that
has features. Half of what the words say is said by the last token, if that is padding.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

LATENT = (4, 8, 8)
MAX_LENGTH = 8
"""Of a prompt in tokens, its start and end included."""

FEATURES: dict[str, dict[str, float]] = {
    "memorized": {"left": 1.0},
    "copied": {"left": 1.0, "right": 1.0},
    "hazy": {"wide": 1.0},
    "red": {"mean": 1.0},
    "blue": {"mean": -1.0},
    "broken": {"nan": float("nan")},
    **{word: {} for word in ("a", "of", "poster", "phone", "case", "rug", "mug", "city", "forest")},
}
"""Word -> features; any other word is unknown and has none."""

FEATURE_NAMES = ("left", "right", "wide", "mean", "nan")
TOKEN_SCORES = np.array([0.5, 0.25, 1.0, 0.75, 1.0])
"""By feature: what a token's score is made of."""
RAMP = np.linspace(0, 1, MAX_LENGTH)
"""What is added to the score of each token: later ones are attended to more."""
SAID_BY_PADDING = 0.5
COLLAPSE = {"model": -18.0, "baseline": -2.0}
"""What a full `left` or `right` feature adds to log s^2: the less-trained baseline has hardly collapsed yet."""


def word_features(word: str) -> NDArray[np.float64]:
    """[F], zero for an unknown word."""
    features = FEATURES.get(word, {})
    return np.array([features.get(name, 0.0) for name in FEATURE_NAMES])


@dataclasses.dataclass(frozen=True)
class Analytic:
    """The closed form of one denoiser: `base_log_variance + features @ directions`, and `features @ means`."""

    base_log_variance: NDArray[np.float64]  # [C, h, w]
    directions: NDArray[np.float64]  # [F, C, h, w]
    means: NDArray[np.float64]  # [F, C, h, w]
    feature_scale: float

    def tokens(self, prompt: str) -> NDArray[np.float64]:
        """What each token says, [S, F]: words at their places; padding takes half from the start token."""
        words = prompt.lower().split()[: MAX_LENGTH - 2]
        features = np.zeros((MAX_LENGTH, len(FEATURE_NAMES)))
        for place, word in enumerate(words, start=1):
            features[place] = word_features(word)
        if len(words) < MAX_LENGTH - 2:
            half = SAID_BY_PADDING * features.sum(axis=0)
            features[-1] += half
            features[0] -= half
        return self.feature_scale * features

    def _features(self, prompt: str) -> NDArray[np.float64]:
        return self.tokens(prompt).sum(axis=0)

    def without_padding(self, prompt: str) -> "Analytic":
        """The denoiser whose answers to a prompt are this one's where its padding says nothing."""
        return self.toward(1 - SAID_BY_PADDING if len(prompt.split()) < MAX_LENGTH - 2 else 1.0)

    def toward(self, share: float) -> "Analytic":
        """The denoiser whose answers to a prompt are this one's at a share of the way from no prompt to it."""
        return dataclasses.replace(self, feature_scale=share * self.feature_scale)

    def attention(self, x: NDArray[np.float64], prompt: str) -> NDArray[np.float64]:
        """The weights of the tokens at each position of x [C, h, w]: [h, w, S]."""
        scores = x.mean(axis=0)[:, :, None] * (self.tokens(prompt) @ TOKEN_SCORES) + RAMP
        weights = np.exp(scores)
        return weights / weights.sum(axis=-1, keepdims=True)

    def bottleneck(self, x: NDArray[np.float64], prompt: str) -> NDArray[np.float64]:
        """[C, h / 2, w / 2]."""
        channels, height, width = x.shape
        squares = x.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        return squares * (1 + self._features(prompt) @ TOKEN_SCORES)

    def variance(self, prompt: str) -> NDArray[np.float64]:
        """s^2 [C, h, w]."""
        return np.exp(self.base_log_variance + np.tensordot(self._features(prompt), self.directions, 1))

    def mean(self, prompt: str) -> NDArray[np.float64]:
        """m [C, h, w]."""
        return np.tensordot(self._features(prompt), self.means, 1)

    def collapse(self, prompt: str, alpha: float, sigma: float) -> NDArray[np.float64]:
        """h = sigma diag(d eps / d x), [C, h, w]."""
        return sigma**2 / (alpha**2 * self.variance(prompt) + sigma**2)

    def eps(self, x: NDArray[np.float64], prompt: str, alpha: float, sigma: float) -> NDArray[np.float64]:
        """The predicted noise at x [C, h, w]."""
        return self.collapse(prompt, alpha, sigma) / sigma * (x - alpha * self.mean(prompt))


def analytic_model(kind: str = "model", *, own_text_encoder: bool = False) -> Analytic:
    """The closed form of the bundle's denoiser (`"model"`) or of its `"baseline"`.

    `own_text_encoder` belongs to a baseline written with a text encoder of its own, whose features are half as strong.
    """
    channels, height, width = LATENT
    coordinates = np.arange(channels * height * width).reshape(LATENT)
    left = np.broadcast_to(np.arange(width) < width // 2, LATENT)
    directions = {"left": COLLAPSE[kind] * left, "right": COLLAPSE[kind] * ~left, "wide": 1.5 * np.ones(LATENT)}
    means = {"mean": np.broadcast_to(np.linspace(-1, 1, channels)[:, None, None], LATENT)}
    zeros = np.zeros(LATENT)
    return Analytic(
        # Every coordinate differs, so that a transposed, flipped or shifted map cannot pass.
        base_log_variance=np.log(0.5 + coordinates / coordinates.size) + (0.3 if kind == "baseline" else 0.0),
        directions=np.stack([directions.get(name, zeros) for name in FEATURE_NAMES]),
        means=np.stack([means.get(name, zeros) for name in FEATURE_NAMES]),
        feature_scale=0.5 if own_text_encoder else 1.0,
    )
