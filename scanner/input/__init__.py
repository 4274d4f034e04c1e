"""Manifests: files, columns and rows, read as a stream and cut into parts."""
