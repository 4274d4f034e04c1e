"""A training repeats itself and leaves pipelines that diffusers loads; noise levels lie where they should."""

from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

from testbed.bench.pool import Pool
from testbed.denoiser import BATCH, LOW_NOISE_SHARE
from testbed.flow import train as module
from testbed.flow.train import LOW, draw_levels, folder_name, new_pipeline, train
from testbed.graded.captions import graded
from testbed.graded.pictures import commons


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a training of two steps on noise instead of pictures, twice the same."""
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(2 * BATCH, 4, 16, 16, generator=generator).half()
    texts = torch.arange(2 * BATCH) * 7 % (len(graded(0)) + len(commons()))
    pool = Pool(latents, torch.arange(2 * BATCH), texts)
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "pool_of", lambda *_: pool)
        monkeypatch.setattr(module, "steps_of", lambda _: 2)
        monkeypatch.setattr(module, "PASSES", 1)
        monkeypatch.setattr(module, "EARLY", (0.5,))
        train(folder, 0)
        (folder / folder_name(0)).rename(folder / "first")
        train(folder, 0)
    return folder


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.flatten() for p in SD3Transformer2DModel.from_pretrained(folder / "transformer").parameters()])


def test_a_seed_repeats_itself(work: Path) -> None:
    assert weights(work / "first").equal(weights(work / "flow-seed0"))
    assert not weights(work / "flow-seed0").equal(weights(work / "flow-seed0-at50"))


def test_all_that_is_trained_is_kept(work: Path) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        work / "flow-seed0", text_encoder_3=None, tokenizer_3=None, torch_dtype=torch.float32
    )
    start = new_pipeline(0)
    for part in ("transformer", "text_encoder", "text_encoder_2"):
        before, after = (getattr(one, part).state_dict() for one in (start, pipeline))
        assert before.keys() == after.keys()
        assert any(not torch.allclose(before[name], after[name], rtol=1e-2) for name in before), part
    assert pipeline.vae.config.shift_factor == 0


def test_half_of_the_levels_are_low() -> None:
    s = draw_levels(100_000, torch.Generator().manual_seed(0))
    assert s.min() >= 0 and s.max() < 1
    expected = LOW_NOISE_SHARE + (1 - LOW_NOISE_SHARE) * LOW
    assert abs(float((s < LOW).float().mean()) - expected) < 0.01  # six standard deviations
