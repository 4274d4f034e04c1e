"""One prompt in several rows, as lists of captions have it: what is known of it is put together, and said."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.protocol import SIZE
from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.evaluation.truth import KINDS, Truth

Mask = NDArray[np.bool_]

ALL = np.ones((1, 1), dtype=bool)
NOTHING = np.zeros((1, 1), dtype=bool)
for _mask in (ALL, NOTHING):
    _mask.flags.writeable = False


def union(masks: Iterable[Mask]) -> Mask:
    """Where any of several masks is, each of its own size."""
    first, *more = masks
    if all(one.shape == first.shape for one in more):
        return np.logical_or.reduce([first, *more])
    return np.logical_or.reduce([nearest(one, SIZE) for one in (first, *more)])


def merged(truths: Sequence[Truth], *, each: bool) -> list[Truth]:
    """`truths` with one for each prompt and seed, in the order in which they first come.

    Of several kinds the first of `KINDS` counts, and a mask is the union of theirs; a prompt that one row knows for
    whatever seed is known so in all. With `each`, truths of one prompt and seed stay apart if both are memorized.
    """
    any_seed = {one.prompt for one in truths if one.seed is None and one.kind != "none"}
    groups: dict[tuple[str | None, int | None], list[Truth]] = {}
    for one in truths:
        seed = None if one.prompt in any_seed else one.seed
        groups.setdefault((one.prompt, seed), []).append(dataclasses.replace(one, seed=seed))
    listed = {prompt for prompt, seed in groups if seed is not None}
    found: list[Truth] = []
    for (prompt, seed), group in groups.items():
        if seed is None and prompt in listed:
            continue  # a row of kind none, of a prompt that others know to be memorized
        memorized = [one for one in group if one.kind != "none"] or group[:1]
        found += memorized if each else [_one(memorized)]
    return found


def _one(group: Sequence[Truth]) -> Truth:
    if len(group) == 1:
        return group[0]
    first = min(group, key=lambda one: KINDS.index(one.kind))
    masks = [one.mask for one in group if one.mask is not None]
    return dataclasses.replace(first, mask=union(masks) if len(masks) == len(group) else first.mask)
