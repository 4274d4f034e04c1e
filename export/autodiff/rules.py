"""The rule table: every operator that `jvp` can differentiate, and the functions that the rules call."""

import onnx_ir as ir

from memscan.export.attention.functions import DOMAIN, attention_function
from memscan.export.autodiff import rules_arithmetic, rules_attention, rules_layout, rules_norm, rules_product
from memscan.export.autodiff.rule_table import RuleTable
from memscan.export.nodes.shapes import dtype_of

RULES = RuleTable(
    rules_arithmetic.RULES | rules_layout.RULES | rules_product.RULES | rules_norm.RULES | rules_attention.RULES
)


def import_functions(model: ir.Model) -> None:
    """Give `model` the bodies of those of our functions that its nodes call."""
    for node in model.graph:
        if node.domain == DOMAIN and node.op_identifier() not in model.functions:
            function = attention_function(node.op_type, dtype_of(node.outputs[0]))
            model.functions[function.identifier()] = function
            model.graph.opset_imports[DOMAIN] = 1
