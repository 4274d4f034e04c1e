"""The element types of ONNX that bundles use, as torch's."""

import torch
from onnx import TensorProto

from memscan.scanner.errors import BundleError

_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


def torch_dtype(element_type: int, where: str) -> torch.dtype:
    """The torch dtype of an ONNX element type.

    Raises:
        BundleError: it is none of those that bundles use; `where` says where it was met.
    """
    if element_type not in _DTYPES:
        raise BundleError(f"the torch engine does not know the element type {element_type} of {where}")
    return _DTYPES[element_type]
