"""How a run fares, for those who watch it: heartbeat, metrics, and what an installation lacks."""
