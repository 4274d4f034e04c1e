"""The table of all lowerings: every operator that the graphs of a bundle may hold."""

from memscan.kernels.torch_runtime import lower_arithmetic, lower_attention, lower_layout, lower_norm, lower_products
from memscan.kernels.torch_runtime.lowering_table import Lowering

LOWERINGS: dict[str, Lowering] = {
    **lower_arithmetic.LOWERINGS,
    **lower_attention.LOWERINGS,
    **lower_layout.LOWERINGS,
    **lower_norm.LOWERINGS,
    **lower_products.LOWERINGS,
}
