"""What a plan is for. A plan is used only where its key serves the wish; any other is built anew.

The graph's digest stands for all static shapes and for the weights, so that an altered bundle has no plans.
"""

import dataclasses
import hashlib
import json
from typing import Any

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.settings import Derivative

RECIPE = 1
"""Counts up when memscan builds plans in another way, so that those of the old way are not used."""


@dataclasses.dataclass(frozen=True)
class PlanKey:
    """What a plan was built for, or what is wished for.

    `gpu` is None, and `compute_capabilities` may be several, where plans are built ahead of time. `batch_size` is the
    largest batch of the optimization profile.
    """

    engine: str
    version: str
    gpu: str | None
    compute_capabilities: tuple[str, ...]
    batch_size: int
    graph: str
    recipe: int = RECIPE

    def serves(self, wish: "PlanKey") -> bool:
        """Whether a plan with this key does what is wished: all equal, but for larger batches and more devices."""
        devices, wished = set(self.compute_capabilities), set(wish.compute_capabilities)
        same = dataclasses.replace(self, compute_capabilities=wish.compute_capabilities, batch_size=wish.batch_size)
        return same == wish and wished <= devices and wish.batch_size <= self.batch_size

    def digest(self) -> str:
        """SHA-256 (hex) of the key's canonical JSON: the plan's name in the cache."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` is the inverse."""
        return {**dataclasses.asdict(self), "compute_capabilities": list(self.compute_capabilities)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "PlanKey":
        """Read a key.

        Raises:
            TypeError, KeyError: the record is no key.
        """
        return cls(**{**record, "compute_capabilities": tuple(record["compute_capabilities"])})


def plan_graphs(bundle: Bundle, derivative: Derivative) -> list[str]:
    """Names of the graphs that a run of the default metrics by this kind of derivative needs plans of: all but those
    that measure by another, those that other metrics ask, and those whose attention is written for ONNX Runtime."""
    needed = graph_names.needed(
        [derivative], baseline=bundle.has_baseline, own_text_encoder=bundle.baseline_has_text_encoder
    )
    return sorted({*needed, *({graph_names.UNGUIDED} & bundle.graphs.keys())})


def graph_digest(bundle: Bundle, graph: str) -> str:
    """SHA-256 (hex) over the recorded digests of a graph's file and of all files beside it that may hold its weights.

    Which of them it reads is not known without parsing it: a changed weight file makes all graphs beside it new.
    """
    folder = graph.rpartition("/")[0]
    beside = (name for name in bundle.files if name.rpartition("/")[0] == folder)
    weights = [name for name in beside if not (graph_names.is_graph(name) or name.endswith(".json"))]
    parts = {name: bundle.files[name] for name in (graph, *weights)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
