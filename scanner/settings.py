"""What a run measures (`Measurement`, hashed into its fingerprint) and how it is executed (`Execution`, never hashed).

Two runs with the same fingerprint give the same results whatever their `Execution` is; see `fingerprint`.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

ProbeKind = Literal["hadamard", "lattice", "rademacher"]
"""How the probes tell coordinates apart; see `memscan.scanner.metrics.probes`."""
Stream = Literal["cpu", "cuda"]
Sampler = Literal["ddim", "dpmsolver++", "euler"]
Engine = Literal["onnxruntime", "tensorrt", "tensorrt-rtx", "torch"]
"""What runs graphs, as users name it; a runtime is our way of using one."""
Provider = Literal["auto", "cpu", "cuda"]
Fit = Literal["crop", "stretch", "pad"]
"""How a picture of another shape than the model's is made to fit; see `memscan.scanner.pictures.fit`."""
Derivative = Literal["exact", "frozen", "shallow"]
"""Which paths of the denoiser the derivative takes; see docs/derivative.md."""
DERIVATIVES: tuple[Derivative, ...] = ("shallow", "frozen", "exact")
"""Cheapest first."""
Move = tuple[int, int]
"""Index of a step, and the timestep at which it is taken instead of the sampler's own."""


@dataclasses.dataclass(frozen=True)
class Probes:
    """The fixed probes of a run: the same for every image and for both terms of a difference."""

    kind: ProbeKind = "hadamard"
    count: int = 8
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Step:
    """A measured step: `index` into the sampler's timesteps, and where the mask begins there.

    `threshold` is a value of the mask's map in the collapse unit, None where there is none and hence no mask;
    `calibrated` says whether the bundle vouches for it at exactly these settings.
    """

    index: int
    threshold: float | None
    calibrated: bool


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a metric is at each step of the sampler for clean prompts: mean and standard deviation over their images.

    `timesteps` are training timesteps, descending; the metric is one number an image and step, before `over`.
    """

    metric: str
    timesteps: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.timesteps) == len(self.mean) == len(self.deviation):
            raise ValueError(f"the reference of {self.metric} has not one mean and deviation for each timestep")
        if not all(deviation > 0 for deviation in self.deviation):
            raise ValueError(f"the reference of {self.metric} has a deviation that is not positive")


@dataclasses.dataclass(frozen=True)
class Screen:
    """Which images are scanned at all: those whose column `score` reaches `threshold` after the first few guided steps.

    `steps` counts these, from the sampler's first one. The column's sign is turned if low values mean memorized.
    """

    steps: int
    score: str
    threshold: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"screening by {self.steps} steps: it takes one at least")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Everything that a result depends on, besides the bundle and the row.

    `steps` ascend. `metrics` are names of the catalogue, in its order; the mask is made of the map `mask_map`, the
    score is the column `score_name`. `moved` are the steps that are taken elsewhere than at the sampler's own timestep.
    `smooth` is the side of the mean filter that all maps pass, in cells, 1 for none; `references` are of the metrics
    that need one; `calibration` is the SHA-256 of the calibration that thresholds and p-values are taken from; `screen`
    is None where every image is scanned.
    """

    num_inference_steps: int
    guidance_scale: float
    steps: tuple[Step, ...]
    probes: Probes
    metrics: tuple[str, ...]
    mask_map: str
    score_name: str
    stream: Stream = "cpu"
    save_maps: bool = False
    save_images: bool = False
    carry: tuple[str, ...] = ()
    sampler: Sampler = "ddim"
    moved: tuple[Move, ...] = ()
    fit: Fit = "crop"
    derivative: Derivative = "exact"
    calibration: str | None = None
    smooth: int = 1
    references: tuple[Reference, ...] = ()
    screen: Screen | None = None

    @property
    def applied_guidance(self) -> float:
        """The scale that sampling uses: 1, the prompt alone, also for less, where diffusers leaves guidance out."""
        return max(self.guidance_scale, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, in field order; the form stored with the results."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run is executed: nothing here may change a result beyond floating-point tolerance.

    `batch_size` None begins with as many images as suit the device; either way fewer are scanned at once from where the
    memory is too small. `threads` 0 leaves the choice to the engine. `provider` is "auto" (CUDA where the engine has
    it), "cpu" or "cuda". `plans` is the folder of TensorRT's plans, None the user's cache.
    """

    batch_size: int | None = None
    threads: int = 0
    provider: Provider = "auto"
    engine: Engine = "onnxruntime"
    plans: Path | None = None


_KEPT_BESIDE = ("save_maps", "save_images")
"""What is kept beside the results may be asked for later: it changes no result."""


def fingerprint_parts(bundle_digest: str, measurement: Measurement) -> dict[str, Any]:
    """The parts of a fingerprint as a flat dictionary, so that a mismatch can name its field.

    The fields of what is nested follow a dot; those of several alike, as of the steps, are lists.
    """
    parts: dict[str, Any] = {"bundle": bundle_digest}
    for key, value in measurement.to_json().items():
        if key in _KEPT_BESIDE:
            continue
        if isinstance(value, dict):
            parts.update({f"{key}.{inner}": inner_value for inner, inner_value in value.items()})
        elif value and isinstance(value, list) and isinstance(value[0], dict):
            parts.update({f"{key}.{inner}": [one[inner] for one in value] for inner in value[0]})
        else:
            parts[key] = value
    return parts


def fingerprint(bundle_digest: str, measurement: Measurement) -> str:
    """SHA-256 (hex) of the canonical JSON of `fingerprint_parts`."""
    text = json.dumps(fingerprint_parts(bundle_digest, measurement), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
