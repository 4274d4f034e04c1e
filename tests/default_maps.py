"""The maps that are measured unless `--metrics` says otherwise."""

from memscan.scanner.metrics.catalogue import METRICS

MAPS = tuple(name for name, metric in METRICS.items() if metric.kind == "map" and metric.default)
