"""The rule table: every operator that `jvp` can differentiate, and the functions that the rules call."""

from memscan.export import rules_arithmetic, rules_attention, rules_layout, rules_norm, rules_product
from memscan.export.rule_table import RuleTable

RULES = RuleTable(
    rules_arithmetic.RULES | rules_layout.RULES | rules_product.RULES | rules_norm.RULES | rules_attention.RULES
)

FUNCTIONS = rules_attention.FUNCTIONS
