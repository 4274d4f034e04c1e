"""Nodes of graphs and the shapes of their values: demanded, inferred, emitted."""
