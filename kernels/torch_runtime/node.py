"""A node of a graph as the lowerings see it: operator, values by name, and attributes that must all be read.

An attribute that no lowering reads would be silently ignored; `unread` lets the plan refuse it instead.
"""

from collections.abc import Mapping
from typing import Any

from memscan.scanner.errors import BundleError

_REQUIRED = object()


class Node:
    """One operator of a graph.

    Args:
        operator: its type, prefixed with `domain::` outside the default domain.
        inputs: names of values; "" stands for an optional one that is absent.
        outputs: names of values.
    """

    def __init__(
        self,
        operator: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        self.operator = operator
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = dict(attributes or {})
        self.name = name or (outputs[0] if outputs else "")
        self._read: set[str] = set()

    def attribute(self, name: str, default: Any = _REQUIRED) -> Any:
        """The value of an attribute, or its default.

        Raises:
            BundleError: it is absent and has no default.
        """
        self._read.add(name)
        if default is _REQUIRED and name not in self.attributes:
            raise BundleError(f"{self} lacks its attribute {name}")
        return self.attributes.get(name, default)

    def only(self, name: str, default: Any, *others: Any) -> Any:
        """An attribute of which few values are supported; the first one is the operator's default.

        Raises:
            BundleError: it has another value.
        """
        value = self.attribute(name, default)
        if value not in (default, *others):
            raise self.unsupported(f"{name} = {value!r}")
        return value

    def without_effect(self, *names: str) -> None:
        """Attributes that change nothing in the form of the operator that is supported."""
        self._read.update(names)

    @property
    def unread(self) -> list[str]:
        """Attributes that nobody has asked for."""
        return sorted(set(self.attributes) - self._read)

    def unsupported(self, what: str) -> BundleError:
        """The error for a form of the operator that has no lowering."""
        return BundleError(f"the torch engine does not know {what} of {self}")

    def __str__(self) -> str:
        return f"{self.operator} node {self.name!r}"
