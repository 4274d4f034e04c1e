"""Forward-mode automatic differentiation of ONNX graphs: a driver, a tape, one table of rules."""
