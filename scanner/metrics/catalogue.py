"""The maps by name, in the order of their columns."""

MAPS = ("dh_uncond", "dh_base", "ds_uncond", "ds_base", "h_cond")
"""Names of the maps, in column order. The first four are the method's; `h_cond` is conditional curvature alone."""


BASELINE_MAPS = ("dh_base", "ds_base")
"""Maps that need a less-trained checkpoint in the bundle."""
