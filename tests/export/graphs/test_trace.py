"""Tracing: who holds the weights afterwards. What is traced is tested on whole denoisers in test_measure.py."""

import gc
import weakref

from torch import Tensor, nn

from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.trace import trace_denoiser
from tests.export.graphs.families import PLAIN


class Mixing(nn.Module):
    """A convolution and a linear layer over the channels, in the place of a UNet."""

    config = PLAIN

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.linear = nn.Linear(4, 4)

    def forward(self, sample: Tensor, timestep: Tensor, states: Tensor, return_dict: bool) -> tuple[Tensor]:
        pixels = self.conv(sample) + states.mean((1, 2))[:, None, None, None] + timestep[:, None, None, None]
        return (self.linear(pixels.movedim(1, -1)).movedim(-1, 1),)


def test_nothing_holds_the_weights_once_the_graph_is_gone() -> None:
    """A large model's weights must be gone before a runtime loads its own; torch's optimizer keeps the last graph."""
    unet = Mixing().eval().requires_grad_(False)
    weights = [weakref.ref(parameter) for parameter in unet.parameters()]
    denoiser = EpsDenoiser(unet, "epsilon")
    model = trace_denoiser(denoiser, (4, 4, 4), (3, 2))
    del unet, denoiser
    gc.collect()
    held = {value.name for value in model.graph.initializers.values() if value.name.startswith("unet.")}
    assert held == {"unet.conv.weight", "unet.conv.bias", "unet.linear.weight.T", "unet.linear.bias"}
    del model
    gc.collect()
    assert [weight() for weight in weights] == [None] * 4
