"""The reference that the update norm needs: its mean and deviation at every step of the sampler, for clean prompts."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from memscan.scanner.calibrating.grid import own_timesteps
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics import update_norm
from memscan.scanner.metrics.update_norm import reference_of
from memscan.scanner.run.choice import FREE_MAP
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Reference

PROMPTS = 64
"""Of the clean ones: the paper takes about fifty."""


def make_reference(scans: Scans, prompts: Sequence[str], request: Request) -> Reference:
    """The reference, by a scan that measures every state by what its guided step answers: the price of sampling.

    Raises:
        UsageError: fewer than two images are good.
    """
    own = own_timesteps(scans.bundle, request)
    name = update_norm.LAST.name
    sampled = dataclasses.replace(
        request,
        timesteps=(),
        steps=tuple(range(1, len(own))),
        metrics=(name,),
        mask_map=FREE_MAP,
        score_name=name,
        save_maps=False,
    )
    chosen = prompts[:PROMPTS]
    results, _ = scans.scan("reference", scans.manifest("reference", chosen, 1), sampled)
    table = results.rows(["row", "seed", "step_index", "status", name])
    norms: dict[int, list[float]] = {}
    for row, status, norm in zip(*(table[column].to_pylist() for column in ("row", "status", name)), strict=True):
        if status == "ok":
            norms.setdefault(row, []).append(norm)
    whole = [of_image for of_image in norms.values() if len(of_image) == len(own) - 1]
    try:
        return reference_of(own[:-1], np.array(whole))
    except ValueError as error:
        raise UsageError(f"no reference of the update norm can be made of the clean prompts: {error}") from error
