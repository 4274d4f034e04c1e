"""A training repeats itself and leaves pipelines whose tokenizer knows the captions; scans find all of it."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from testbed.bench.pool import Pool
from testbed.denoiser import BATCH
from testbed.emoji import scans
from testbed.emoji import train as module
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import commons, graded
from testbed.emoji.scans import COMMONS, Model
from testbed.emoji.train import folder_name, graded_again, train, trained_name
from testbed.graded.train import load
from testbed.text import END_OF_WORD


@pytest.fixture(scope="module")
def work(artwork: Artwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a training of two steps on noise instead of pictures, twice the same."""
    texts = len(graded(artwork, 0)) + len(commons(artwork))
    exposures = BATCH + 2
    latents = torch.randn(exposures, 4, 16, 16, generator=torch.Generator().manual_seed(5)).half()
    pool = Pool(latents, torch.arange(exposures), torch.arange(exposures) * 7 % texts)
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "pool_of", lambda *_: pool)
        monkeypatch.setattr(module, "load", lambda _: artwork)
        monkeypatch.setattr(module, "STEPS", 2)
        monkeypatch.setattr(module, "MORE_STEPS", 1)
        monkeypatch.setattr(module, "EARLY", (0.5,))
        monkeypatch.setattr(module, "VAE_PICTURES", 8)
        monkeypatch.setattr(module, "VAE_STEPS", 2)
        monkeypatch.setattr(module, "JUDGED", 4)
        train(folder, 0)
        (folder / trained_name(0)).rename(folder / "first")
        (folder / folder_name(0)).rename(folder / "first-once")
        train(folder, 0)
    return folder


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.flatten() for p in UNet2DConditionModel.from_pretrained(folder / "unet").parameters()])


def test_a_seed_repeats_itself(work: Path) -> None:
    assert weights(work / "first").equal(weights(work / "emoji-seed0"))
    assert weights(work / "first-once").equal(weights(work / "emoji-seed0-once"))
    assert not weights(work / "emoji-seed0-once").equal(weights(work / "emoji-seed0-at50"))
    assert not weights(work / "emoji-seed0").equal(weights(work / "emoji-seed0-once"))


def test_the_second_part_shows_graded_captions_three_times_and_fills_up_with_others() -> None:
    pool = Pool(torch.zeros(5, 4, 16, 16), torch.arange(5), torch.tensor([0, 1, 2, 3, 4]))
    shown = graded_again(pool, captions=2, exposures=8, seed=0)
    assert shown.texts.tolist()[:6] == [0, 1, 0, 1, 0, 1]
    assert len(set(shown.texts.tolist()[6:])) == 2
    assert min(shown.texts.tolist()[6:]) >= 2
    assert shown.pictures.equal(shown.texts)


def test_pipelines_have_the_benches_own_parts(work: Path, artwork: Artwork) -> None:
    pipeline = load(work / "emoji-seed0")
    assert pipeline.unet.config.down_block_types[0] == "CrossAttnDownBlock2D"
    prompt = graded(artwork, 0)[50].prompt
    assert pipeline.tokenizer.tokenize(prompt) == [word + END_OF_WORD for word in prompt.split()]
    assert pipeline.text_encoder.config.vocab_size == len(pipeline.tokenizer)
    own, tuned = (AutoencoderKL.from_pretrained(folder) for folder in (work / "emoji-seed0" / "vae", work / "vae"))
    assert own.config.scaling_factor == tuned.config.scaling_factor
    assert own.encoder.conv_in.weight.equal(tuned.encoder.conv_in.weight.half().float())


def test_a_model_names_its_prompts_and_masks(work: Path, artwork: Artwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "load", lambda _: artwork)
    model = Model(work, 0)
    rows = model.prompts()
    assert [row["index"] for row in rows if "index" in row] == list(range(len(graded(artwork, 0))))
    assert sum(row["kind"] == "common" for row in rows) == min(COMMONS, len(commons(artwork)))
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert {row["kind"] for row in rows} == {
        *("global", "local", "rare", "common"),
        *("paraphrase", "half", "joined", "unrelated"),
    }
    assert model.mask(0).all()
    assert 0 < model.mask(44).mean() < 1
    assert not model.mask(88).any()
    assert next(iter(model.baselines.items())) == ("25%", "emoji-seed0-at25")
    assert model.file("strength") == work / "emoji-seed0-strength"
    assert len(model.strength_seeds) == 16
