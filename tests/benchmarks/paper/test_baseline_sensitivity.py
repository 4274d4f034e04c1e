"""The diagonal and its means by region, for a denoiser whose derivative is known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.paper import short_training
from benchmarks.paper.baseline_sensitivity import Images, diagonal, region_means
from benchmarks.paper.short_training import Denoiser
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.settings import Probes
from testbed.captions import of_kind
from testbed.cells import cover
from testbed.dataset import masks

SHAPE = (4, 8, 8)


def test_the_diagonal_of_coordinatewise_cubes_is_exact() -> None:
    scale = torch.linspace(0.5, 2, 256).reshape(SHAPE)
    model = Denoiser(
        unet=lambda x, timestep, states: SimpleNamespace(sample=scale * x**3 + states.mean()),
        text_encoder=lambda ids: SimpleNamespace(last_hidden_state=ids.float()),
    )
    x = torch.randn(15, *SHAPE, generator=torch.Generator().manual_seed(0))  # more than a batch
    found = diagonal(model, Images((), x, torch.zeros(15, 3)), torch.as_tensor(make_probes(Probes(), SHAPE)))
    torch.testing.assert_close(found, 3 * scale * x**2, rtol=1e-5, atol=1e-6)


def test_means_are_of_cells_wholly_inside_and_of_local_images() -> None:
    local, glob = of_kind("local")[0], of_kind("global")[0]
    regions = masks(local)
    h = sum(
        value * (cover(getattr(regions, name), (16, 16)) == 1)
        for name, value in (("memorized", 0.9), ("free", 0.2), ("intrinsic", 0.7))
    )
    means = region_means(np.stack([h, np.full((16, 16), 5.0)]), (local, glob))
    assert {name: round(mean, 12) for name, mean in means.items()} == {"memorized": 0.9, "free": 0.2, "intrinsic": 0.7}


def test_a_trained_denoiser_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained = short_training._untrained()
    with torch.no_grad():
        untrained.unet.conv_in.bias.fill_(0.25)
    for share in short_training.FRESH:
        state = (untrained.unet.state_dict(), untrained.text_encoder.state_dict())
        torch.save(state, tmp_path / f"denoiser-{1000 * share:04.0f}.pt")
    monkeypatch.setattr(short_training, "_train", None)  # would raise if it were called
    found = short_training._trained(tmp_path, short_training.FRESH, 0.0)
    assert [share for share, _ in found] == list(short_training.FRESH)
    assert all((model.unet.conv_in.bias == 0.25).all() for _, model in found)
