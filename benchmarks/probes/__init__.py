"""Probes and noise levels: what an estimate of the diagonal is worth beside what it costs."""
