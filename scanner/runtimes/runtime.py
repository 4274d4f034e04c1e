"""What a scan asks of a runtime: run the graphs of a bundle on a device, and leave their outputs there.

A value is the runtime's own array on its device; only its shape is looked at. Outputs go back in as inputs without
passing through the host, so that a trajectory stays on the device from its noise to the state that is measured.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray


class Value(Protocol):
    """An array on a runtime's device."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class Runtime(Protocol):
    """The graphs of one bundle, each loaded when it is first run.

    Every method may raise OutOfMemory (a smaller batch may do) or EnvironmentFailed (the device failed).
    """

    @property
    def device(self) -> str:
        """What the graphs really run on, in the runtime's own words."""

    @property
    def remark(self) -> str | None:
        """What the user should know about the device, in one line: above all, that it is not the one to be expected."""

    @property
    def loaded(self) -> Mapping[str, str]:
        """What each graph that has been run so far really runs on: a provider, a device, or the digest of a plan."""

    @property
    def usual_batch(self) -> int:
        """How many images a scan begins with unless the user says: what the device is busy with, if it fits."""

    def upload(self, array: NDArray[Any]) -> Value:
        """A copy on the device; dtype and shape are kept. On the CPU it may be the array itself."""

    def download(self, value: Any) -> NDArray[Any]:
        """The value on the host."""

    def run(self, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run a graph by its name in the bundle, e.g. "baseline/measure.onnx": names of inputs and outputs to values.

        An output stays as it is whatever is run later.

        Raises:
            BundleError: the graph cannot be loaded.
        """
