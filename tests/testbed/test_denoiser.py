"""The training loop runs, hands over averaged models, and draws captions and dropout as documented."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from testbed import denoiser
from testbed.captions import CAPTIONS, DROPOUT, frequencies
from testbed.denoiser import Latents, draw_batch, train_denoiser
from testbed.text import build_tokenizer, new_text_encoder, token_ids

EMPTY = len(CAPTIONS)


def numbered_latents(each: int = 3) -> Latents:
    """Latents filled with the index of their caption, in no order."""
    captions = torch.arange(EMPTY).repeat(each)
    return Latents.of(captions.float()[:, None, None, None].expand(-1, 4, 16, 16), captions)


def test_batch_pairs_each_latent_with_its_caption_or_none() -> None:
    batch = draw_batch(numbered_latents(), 500, torch.Generator().manual_seed(0))
    kept = batch.texts != EMPTY
    assert (batch.latents[kept, 0, 0, 0] == batch.texts[kept]).all()
    assert 0 < (~kept).sum() < 500


def test_shares_and_dropout_are_as_documented() -> None:
    size = 60_000
    batch = draw_batch(numbered_latents(), size, torch.Generator().manual_seed(1))
    shown = batch.latents[:, 0, 0, 0].long()
    share = torch.bincount(shown, minlength=EMPTY) / size
    expected = torch.tensor(frequencies())
    assert (share - expected).abs().max() < 5 * (expected * (1 - expected) / size).sqrt().max()
    memorized = torch.tensor([caption.kind != "none" for caption in CAPTIONS])[shown]
    dropped = batch.texts == EMPTY
    assert not dropped[memorized].any()
    assert dropped[~memorized].float().mean() == pytest.approx(DROPOUT["none"], abs=0.01)  # 5 standard errors: .009


def test_half_of_the_timesteps_have_low_noise() -> None:
    timesteps = draw_batch(numbered_latents(), 20_000, torch.Generator().manual_seed(2)).timesteps
    expected = denoiser.LOW_NOISE_SHARE + (1 - denoiser.LOW_NOISE_SHARE) * denoiser.LOW_NOISE / 1000
    assert (timesteps < denoiser.LOW_NOISE).float().mean() == pytest.approx(expected, abs=0.02)
    assert timesteps.min() >= 0
    assert timesteps.max() == 999


def test_training_saves_every_checkpoint_and_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "CHECKPOINTS", (0.5, 1.0))
    monkeypatch.setattr(denoiser, "BATCH", 2)
    tokenizer = build_tokenizer()
    ids = token_ids(tokenizer, [caption.prompt for caption in CAPTIONS] + [""])

    def trained() -> dict[float, torch.Tensor]:
        saved: dict[float, torch.Tensor] = {}

        def save(share: float, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
            saved[share] = torch.cat([p.flatten() for model in (unet, text) for p in model.parameters()])

        torch.manual_seed(0)
        train_denoiser(numbered_latents(), ids, new_text_encoder(tokenizer), 2, 0, save)
        return saved

    first, again = trained(), trained()
    assert set(first) == {0.5, 1.0}
    assert first[1.0].isfinite().all()
    assert not first[0.5].equal(first[1.0])
    assert first[1.0].equal(again[1.0])
