"""A training repeats itself, begins at the baseline, and the dropout is all that two of one seed differ in."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from testbed.bench.pool import Pool
from testbed.denoiser import BATCH
from testbed.graded import train as module
from testbed.graded.captions import graded
from testbed.graded.pictures import commons
from testbed.graded.train import EARLY, START_NAME, folder_name, load, train


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two work folders of the same trainings, of two steps on noise instead of pictures, and one more in the first."""
    texts = len(graded(0)) + len(commons())
    exposures = BATCH + 2
    latents = torch.randn(exposures, 4, 16, 16, generator=torch.Generator().manual_seed(5)).half()
    pool = Pool(latents, torch.arange(exposures), torch.arange(exposures) * 7 % texts)
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "pool_of", lambda *_: pool)
        monkeypatch.setattr(module, "steps_of", lambda _: 2)
        monkeypatch.setattr(module, "EARLY", (0.5,))
        for work, dropout in ((one, 10), (other, 10), (one, 0)):
            train(work, 0, dropout)
    return one, other


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.flatten() for p in UNet2DConditionModel.from_pretrained(folder / "unet").parameters()])


def test_a_seed_repeats_itself(works: tuple[Path, Path]) -> None:
    one, other = works
    assert weights(one / "drop10-seed0").equal(weights(other / "drop10-seed0"))
    assert not weights(one / "drop10-seed0").equal(weights(one / "drop0-seed0"))


def test_pipelines_of_every_checkpoint_are_left(works: tuple[Path, Path]) -> None:
    one, _ = works
    names = {START_NAME, "drop10-seed0", "drop10-seed0-at50", "drop0-seed0", "drop0-seed0-at50"}
    assert {path.name for path in one.iterdir()} == names
    assert not weights(one / "drop10-seed0").equal(weights(one / "drop10-seed0-at50"))
    assert not weights(one / "drop10-seed0").equal(weights(one / START_NAME))
    assert load(one / "drop10-seed0").unet.config.down_block_types[0] == "CrossAttnDownBlock2D"
    for config in one.glob("*/**/*.json"):
        assert "_name_or_path" not in config.read_text(), config


def test_names_of_folders() -> None:
    assert [folder_name(2, 10, share) for share in (0.1, 0.25, 0.5, 1.0)] == [
        "drop10-seed2-at10",
        "drop10-seed2-at25",
        "drop10-seed2-at50",
        "drop10-seed2",
    ]
    assert EARLY[-1] < 1
