"""What a bundle says of its model, part by part: text, settings, number formats, and how well cheaper derivatives agree
with the exact one; each within its ranges. Noise schedules have `schedules.py`."""

import dataclasses
import re
from typing import Literal

from memscan.scanner.records import check_range, shown
from memscan.scanner.schedules import MOST_TIMESTEPS
from memscan.scanner.settings import Derivative, Probes, Sampler

MAPS = (
    "dh_uncond",
    "dh_base",
    "ds_uncond",
    "ds_base",
    "h_cond",
    "ds_path",
    "cosine_uncond",
    "dh_pad",
    "bright_ending",
)
"""The maps of the catalogue of metrics, which lies above: a bundle names none but these."""

_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_PROMPTS = 2**53
_MOST_CHANNELS, _LARGEST_SCALE = 1024, 1000.0
_LONGEST_TEXT, _LARGEST_TOKEN = 1 << 16, 2**31 - 1
_MOST_PROBES = 4096
_COLLAPSE = -1.0, 2.0
"""Where thresholds of curvature can be, in the collapse unit."""
_ANYWHERE = -1e6, 1e6
"""Where those of other maps can be: squares of differences have no upper end."""
_MOST_LAYERS = 1 << 10


@dataclasses.dataclass(frozen=True)
class Concept:
    """A token of a textual inversion that has several vectors: a prompt's `token` is `token token_1 token_2 ...`."""

    token: str
    vectors: int

    def __post_init__(self) -> None:
        check_range("vectors", self.vectors, 2, _LONGEST_TEXT)

    @property
    def written(self) -> str:
        """What stands in its place, as diffusers writes it."""
        return " ".join([self.token, *(f"{self.token}_{index}" for index in range(1, self.vectors))])


@dataclasses.dataclass(frozen=True)
class Tokenization:
    """The tokenizer in `file`, whose ids are brought to `max_length`.

    Too many are cut so that `eos_token_id` ends them, too few are padded on the right with `pad_token_id`;
    `bos_token_id` is None where texts have no start token. `position` is where the text states that are made of these
    ids begin: encoders of equal positions stand side by side, others one behind the other; it is None where none are
    made of them. `concepts` are written out in a prompt before it is spelled.
    """

    file: str
    max_length: int
    pad_token_id: int
    eos_token_id: int
    bos_token_id: int | None = None
    position: int | None = 0
    concepts: tuple[Concept, ...] = ()

    def __post_init__(self) -> None:
        check_range("max_length", self.max_length, 1, _LONGEST_TEXT)
        check_range("position", self.position or 0, 0, _LONGEST_TEXT)
        for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
            check_range(name, getattr(self, name) or 0, 0, _LARGEST_TOKEN)


@dataclasses.dataclass(frozen=True)
class Text:
    """How prompts are encoded: by one text encoder for each of `tokenizers`, in this order.

    `zero_uncond` says that the unconditional prompt is encoded as zeros. `clip_skip` is how many of the encoders' last
    layers prompts leave out beyond the model's own habit, as diffusers counts; the unconditional prompt has them all.
    """

    tokenizers: tuple[Tokenization, ...]
    uncond_prompt: str = ""
    zero_uncond: bool = False
    clip_skip: int = 0

    def __post_init__(self) -> None:
        check_range("clip_skip", self.clip_skip, 0, _MOST_LAYERS)
        if not self.tokenizers:
            raise ValueError("the list of tokenizers is empty")

    @property
    def length(self) -> int:
        """The positions of text states."""
        ends = (rule.position + rule.max_length for rule in self.tokenizers if rule.position is not None)
        return max(ends, default=0)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A threshold of `map`, in the collapse unit, found on calibration prompts at exactly these settings.

    `smooth` is the side of the mean filter that the maps had passed.
    """

    map: str
    timestep: int
    threshold: float
    num_inference_steps: int
    guidance_scale: float
    probes: Probes
    sampler: Sampler = "ddim"
    derivative: Derivative = "exact"
    smooth: int = 1

    def __post_init__(self) -> None:
        check_map("map", self.map)
        is_curvature = self.map.startswith(("dh_", "h_"))
        check_range("threshold", self.threshold, *(_COLLAPSE if is_curvature else _ANYWHERE))
        _check_settings(self.num_inference_steps, self.guidance_scale, self.probes)


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a scan uses when it is not told otherwise. `timesteps` are training timesteps, descending.

    `probes` None leaves the choice to the scanner, by the number of latent channels.
    """

    num_inference_steps: int
    guidance_scale: float
    timesteps: tuple[int, ...]
    probes: Probes | None
    mask_map: str
    sampler: Sampler = "ddim"
    derivative: Derivative = "exact"

    def __post_init__(self) -> None:
        check_map("mask_map", self.mask_map)
        _check_settings(self.num_inference_steps, self.guidance_scale, self.probes)


def _check_settings(num_inference_steps: int, guidance_scale: float, probes: Probes | None) -> None:
    check_range("num_inference_steps", num_inference_steps, 1, MOST_TIMESTEPS)
    check_range("guidance_scale", guidance_scale, 0.0, _LARGEST_SCALE)
    if probes is not None:
        check_range("probes.count", probes.count, 1, _MOST_PROBES)
        check_range("probes.seed", probes.seed, 0, 2**32 - 1)


ChannelKind = Literal["inpainting", "depth", "edit"]


@dataclasses.dataclass(frozen=True)
class Channels:
    """What the denoiser takes behind the latents: `count` channels, made of a row's pictures as `kind` says.

    `scale` is what the latents of a picture are multiplied by.
    """

    kind: ChannelKind
    count: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_range("count", self.count, 1, _MOST_CHANNELS)
        check_range("scale", self.scale, 0.0, _LARGEST_SCALE)


@dataclasses.dataclass(frozen=True)
class AestheticScores:
    """What a refiner is told of an image, in training the score of a predictor: of the prompt's and of none's."""

    prompt: float
    none: float

    def __post_init__(self) -> None:
        for name in ("prompt", "none"):
            check_range(name, getattr(self, name), 0.0, _LARGEST_SCALE)


@dataclasses.dataclass(frozen=True)
class Takes:
    """What the denoiser takes beside latents, noise level and text.

    `guidance` says that it is told the scale of guidance, and guides itself.
    """

    guidance: bool = False
    channels: Channels | None = None
    aesthetic_scores: AestheticScores | None = None

    def sampling_guidance(self, scale: float) -> float:
        """The scale of classifier-free guidance while sampling: 1, none of it, where the denoiser guides itself."""
        return 1.0 if self.guidance else scale


NOTHING_MORE = Takes()


Dtype = Literal["float32", "float16", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Dtypes:
    """numpy's names, or "bfloat16": how weights are stored, and what the denoiser's products are computed in."""

    weights: Dtype
    compute: Dtype


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How a kind's map at a training timestep agrees with the exact derivative's, over pixels and images.

    `correlation` is Pearson's, `scale` the slope of the kind's map on the exact one by least squares; None where a side
    is constant, which leaves it undefined.
    """

    derivative: Derivative
    map: str
    timestep: int
    correlation: float | None
    scale: float | None

    def __post_init__(self) -> None:
        check_map("map", self.map)
        check_range("timestep", self.timestep, 0, MOST_TIMESTEPS - 1)
        if self.correlation is not None:
            check_range("correlation", self.correlation, -1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What was measured of the derivatives at export, on trajectories of the very model.

    `prompts` is the number of prompts, `prompts_digest` the SHA-256 of their JSON list.
    """

    prompts: int
    prompts_digest: str
    agreements: tuple[Agreement, ...]

    def __post_init__(self) -> None:
        check_range("prompts", self.prompts, 1, _MOST_PROMPTS)
        check_digest("prompts_digest", self.prompts_digest)
        seen = set()
        for index, one in enumerate(self.agreements):
            what = one.derivative, one.map, one.timestep
            if what in seen:
                raise ValueError(f"agreements[{index}] repeats {what[0]}, {what[1]}, timestep {what[2]}")
            seen.add(what)

    def agreement(self, derivative: Derivative, map: str, timestep: int) -> Agreement | None:
        """What is certified of a kind's map at a timestep, if anything is."""
        wanted = derivative, map, timestep
        return next((one for one in self.agreements if (one.derivative, one.map, one.timestep) == wanted), None)


def check_map(name: str, value: str) -> None:
    """Raises ValueError, which names it, if a value is none of the catalogue's maps."""
    if value not in MAPS:
        raise ValueError(f"{name} is {shown(value)}, not one of {', '.join(MAPS)}")


def check_digest(name: str, value: str) -> None:
    """Raises ValueError, which names it, if a value is no SHA-256 in hex."""
    if not _DIGEST.fullmatch(value):
        raise ValueError(f"{name} is {shown(value)}, not a SHA-256")


@dataclasses.dataclass(frozen=True)
class AddedEmbedding:
    """A textual inversion that the text encoders hold: the name of its file, its SHA-256, and its token in prompts."""

    file: str
    digest: str
    token: str

    def __post_init__(self) -> None:
        check_digest("digest", self.digest)


@dataclasses.dataclass(frozen=True)
class AddedAdapter:
    """A file of adapters that the weights hold: its name, its SHA-256, and by how much it was multiplied."""

    file: str
    digest: str
    scale: float

    def __post_init__(self) -> None:
        check_digest("digest", self.digest)
