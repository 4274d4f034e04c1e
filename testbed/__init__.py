"""The testbed: a small text-to-image model that truly memorizes, and the recipe that trains it.

Procedural pictures with exact ground-truth masks stand in for a web-scale training set: some captions are
duplicated images (global memorization), some are templates with one fixed region (local memorization), and
the rest is drawn afresh every time.
"""
