"""A calibration of a bundle from prompts that are not memorized: scan them, look at every timestep, recommend one."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version

from memscan.scanner.calibrating.grid import grid
from memscan.scanner.calibrating.labelled import Labelled, MaskChoice
from memscan.scanner.calibrating.reference import make_reference
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.calibrating.screen import DEFAULT_SCREEN, ScreenOrder, make_screen
from memscan.scanner.calibration.clean import CleanScan, check_support, clean_scan
from memscan.scanner.calibration.recommend import recommend
from memscan.scanner.calibration.record import (
    FORMAT_VERSION,
    AtTimestep,
    CalibrationRecord,
    Clean,
    Recommended,
    settings_of,
)
from memscan.scanner.errors import UsageError
from memscan.scanner.run.request import Request

DEFAULT_RATE = 0.01
"""Of false positives: what papers report detection at."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be calibrated: the settings of `request`, on clean `prompts` with so many `seeds` each, at `rate`.

    `screen` says how `--screen` is to choose. No timesteps in the request are those of `grid`. What is `labelled`
    chooses what the request leaves open.
    """

    request: Request
    prompts: tuple[str, ...]
    seeds: int
    rate: float
    labelled: Labelled | None = None
    screen: ScreenOrder = DEFAULT_SCREEN


def calibrate(scans: Scans, order: Order) -> tuple[CalibrationRecord, CleanScan]:
    """The calibration, and the scan of the clean prompts that it was made of.

    Raises:
        UsageError: the prompts are too few for the rate, or settings that the bundle does not have.
        EnvironmentFailed: the device failed.
    """
    prompts = tuple(dict.fromkeys(order.prompts))
    check_support(len(prompts), order.rate)
    bundle = scans.bundle
    timesteps = order.request.timesteps or grid(bundle, order.request)
    request = dataclasses.replace(order.request, timesteps=timesteps, save_maps=True)
    choice = None if order.labelled is None else order.labelled.choose(scans, request)
    if choice is not None:
        request = choice.request
    reference = make_reference(scans, prompts, request)
    scans = dataclasses.replace(scans, references=(reference,))
    results, measurement = scans.scan("clean", scans.manifest("clean", prompts, order.seeds), request)
    if len(measurement.moved) > 1 or (measurement.moved and len(measurement.steps) > 1):
        raise UsageError(
            "the sampler would have to move its own steps to measure at several of these timesteps: "
            "give one --timestep, or none"
        )
    scan = clean_scan(results, order.rate)
    levels = scan.levels(bundle.schedule, order.rate)
    record = CalibrationRecord(
        references=(reference,),
        format_version=FORMAT_VERSION,
        bundle=bundle.digest,
        version=version("memscan"),
        rate=order.rate,
        settings=settings_of(measurement),
        clean=Clean(len(scan.prompts), scan.images_a_prompt, _digest(scan.prompts)),
        recommended=recommend(levels, measurement.mask_map, order.request.score_name, bundle.defaults.timesteps)
        if choice is None
        else Recommended(choice.mask.timestep, choice.mask.name, measurement.score_name, choice.why),
        levels=levels if choice is None else tuple(_labelled(level, choice.masks) for level in levels),
        screen=make_screen(scans, prompts, order.seeds, request, order.screen, order.labelled),
    )
    return record, scan


def _labelled(level: AtTimestep, masks: Sequence[MaskChoice]) -> AtTimestep:
    """With the masks' thresholds that labels chose in place of those of the rate."""
    chosen = {one.name: one for one in masks if one.timestep == level.timestep}
    maps = {
        name: dataclasses.replace(of_map, threshold=chosen[name].threshold, labelled=chosen[name].overlap)
        if name in chosen
        else of_map
        for name, of_map in level.maps.items()
    }
    return dataclasses.replace(level, maps=maps)


def _digest(prompts: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
