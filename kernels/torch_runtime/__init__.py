"""The torch engine: a bundle's graphs lowered to torch calls, node by node."""

from memscan.kernels.torch_runtime.runtime import TorchRuntime

__all__ = ["TorchRuntime"]
