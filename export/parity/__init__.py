"""What a graph is compared with, and how: torch's own values against ONNX Runtime's."""
