"""What the user asks for. What is not said, the bundle decides: see `measurement.build_measurement`."""

import dataclasses

from memscan.scanner.settings import Derivative, Fit, ProbeKind, Sampler, Stream


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for. None, and no step at all, leave it to the bundle's defaults."""

    steps: tuple[int, ...] = ()
    timesteps: tuple[int, ...] = ()
    sampler: Sampler | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    probe_kind: ProbeKind | None = None
    num_probes: int | None = None
    probe_seed: int | None = None
    stream: Stream = "cpu"
    metrics: tuple[str, ...] = ()
    mask_map: str | None = None
    score_name: str | None = None
    threshold: float | None = None
    save_maps: bool = False
    save_images: bool = False
    carry: tuple[str, ...] = ()
    fit: Fit = "crop"
    derivative: Derivative | None = None
    smooth: int = 1
    screen: bool = False
