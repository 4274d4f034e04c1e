"""How a run fares, for those who watch it: whether it is alive, metrics, and what an installation lacks."""
