"""From a diffusers checkpoint to a bundle of ONNX graphs with forward-mode derivatives. Runs once a model; needs torch.

Shape legend of the package: K tangents (always the leading axis), N batch, C H W, M queries, S keys, D head size.
The tangent of `x` is `x_dot` in Python and `<name>_dot` in the graphs.
"""
