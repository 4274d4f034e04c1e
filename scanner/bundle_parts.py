"""What a bundle says of its model, part by part: noise schedule, text and number formats, each within its ranges."""

import dataclasses
import itertools
from typing import Literal

from memscan.scanner.records import check_range, shown

MOST_TIMESTEPS = 100_000
_SPACINGS = ("leading", "linspace", "trailing")
_LONGEST_TEXT, _LARGEST_TOKEN = 1 << 16, 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The noise schedule and how sampling steps are spaced, with diffusers' names.

    `alphas_cumprod` has one value for each of the `num_train_timesteps` training timesteps.
    """

    num_train_timesteps: int
    alphas_cumprod: tuple[float, ...]
    steps_offset: int
    set_alpha_to_one: bool
    timestep_spacing: str

    def __post_init__(self) -> None:
        count = self.num_train_timesteps
        check_range("num_train_timesteps", count, 1, MOST_TIMESTEPS)
        check_range("steps_offset", self.steps_offset, 0, count - 1)
        if self.timestep_spacing not in _SPACINGS:
            raise ValueError(f"timestep_spacing is {shown(self.timestep_spacing)}, not one of {', '.join(_SPACINGS)}")
        if len(self.alphas_cumprod) != count:
            raise ValueError(f"alphas_cumprod has {len(self.alphas_cumprod)} values for {count} training timesteps")
        for index, alpha in enumerate(self.alphas_cumprod):
            if not (0 < alpha < 1 or (alpha == 0 and index == count - 1)):  # zero terminal SNR: samplers say so
                raise ValueError(f"alphas_cumprod[{index}] is {alpha}, not between 0 and 1")
        for index, (before, after) in enumerate(itertools.pairwise(self.alphas_cumprod)):
            if after > before:
                raise ValueError(f"alphas_cumprod[{index + 1}] is {after}, more than {before} before it")


@dataclasses.dataclass(frozen=True)
class Tokenization:
    """The tokenizer in `file`, whose ids are brought to `max_length`.

    Too many are cut so that `eos_token_id` ends them, too few are padded on the right with `pad_token_id`;
    `bos_token_id` is None where texts have no start token.
    """

    file: str
    max_length: int
    pad_token_id: int
    eos_token_id: int
    bos_token_id: int | None = None

    def __post_init__(self) -> None:
        check_range("max_length", self.max_length, 1, _LONGEST_TEXT)
        for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
            check_range(name, getattr(self, name) or 0, 0, _LARGEST_TOKEN)


@dataclasses.dataclass(frozen=True)
class Text:
    """How prompts are encoded: by one text encoder for each of `tokenizers`, in this order.

    `zero_uncond` says that the unconditional prompt is encoded as zeros.
    """

    tokenizers: tuple[Tokenization, ...]
    uncond_prompt: str = ""
    zero_uncond: bool = False

    def __post_init__(self) -> None:
        if not self.tokenizers:
            raise ValueError("the list of tokenizers is empty")


Dtype = Literal["float32", "float16", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Dtypes:
    """numpy's names, or "bfloat16": how weights are stored, and what the denoiser's products are computed in."""

    weights: Dtype
    compute: Dtype
