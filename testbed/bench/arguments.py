"""What every bench's response is asked on the command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from memscan.scanner.settings import DERIVATIVES
from testbed.bench.model import MEASURED_SEEDS
from testbed.bench.scans import MEASURED


def response_parser(
    description: str | None, baselines: Sequence[str], metrics: Sequence[str] = MEASURED
) -> argparse.ArgumentParser:
    """A parser of work folder, seeds, baselines, metrics, derivative and images; the latter with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="the folder with what was trained")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="trainings to pool")
    parser.add_argument("--baselines", nargs="+", default=[*baselines], help="checkpoints to choose from")
    parser.add_argument("--metrics", nargs="+", default=metrics, help="to measure")
    parser.add_argument("--derivative", choices=DERIVATIVES, default="exact", help="that maps are made by")
    parser.add_argument("--images", type=int, default=len(MEASURED_SEEDS), help="of each prompt, to be measured")
    return parser
