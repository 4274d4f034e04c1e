"""The rule table: every operator that `jvp` can differentiate, and the functions that the rules call."""

import onnx_ir as ir

from memscan.export import rules_arithmetic, rules_attention, rules_layout, rules_norm, rules_product
from memscan.export.rule_table import RuleTable

RULES = RuleTable(
    rules_arithmetic.RULES | rules_layout.RULES | rules_product.RULES | rules_norm.RULES | rules_attention.RULES
)


def import_functions(model: ir.Model) -> None:
    """Give `model` the bodies of those of our functions that its nodes call."""
    called = {node.op_identifier() for node in model.graph}
    for function in rules_attention.FUNCTIONS:
        if function.identifier() in called:
            model.functions[function.identifier()] = function.clone()
            model.graph.opset_imports[function.domain] = 1
