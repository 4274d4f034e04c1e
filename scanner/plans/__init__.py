"""TensorRT plans: a bundle's graphs compiled for some GPUs and batch sizes, and the private folder that keeps them."""
