"""Pictures that rows bring: encoded bytes to upright, opaque RGB, and from any shape to that of a model's images."""
