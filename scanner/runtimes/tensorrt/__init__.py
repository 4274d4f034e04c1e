"""TensorRT: plans are found or built, kept in a private cache, loaded and run."""
