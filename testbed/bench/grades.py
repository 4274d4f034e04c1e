"""The grades of the benches: counts in steps of two, which a seed moves along the captions."""

COUNTS = tuple(2**power for power in range(11))
"""How often a training shows a graded caption: 1 to 1,024."""

STRIDE = 4
"""Grades by which the next seed moves a caption: a factor of 16."""
