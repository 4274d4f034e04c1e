"""Denoisers of the testbed from other moments of its training than the two that are kept.

The first moments are trained anew by the recipe's own batches, from nothing: memorized captions are five times rarer
there. The later ones go on from the kept checkpoint at 25%, with the memorized captions at their full share, as the
recipe does; its optimizer's state is gone, so that Adam starts afresh. The learning rate is the recipe's of that part
of the training, which is constant; averages are taken as it does.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn.functional import mse_loss
from transformers import CLIPTextModel

from memscan.export.quiet import quiet_libraries
from testbed.captions import CAPTIONS, EARLY
from testbed.dataset import STOCK, draw_pool
from testbed.denoiser import BATCH, EMA, LEARNING_RATE, WARM_UP, Latents, draw_batch, new_scheduler, new_unet
from testbed.tables import HOME
from testbed.text import build_tokenizer, new_text_encoder, token_ids
from testbed.train import DENOISER_STEPS
from testbed.vae import encode

SEED = 0
POOL = 6000  # pictures; the recipe draws 30,000 for a training that is ten times longer
FRESH = (0.01,)
"""Shares of the training that are trained from nothing."""
LATER = (0.26,)
"""Shares that are reached from the kept checkpoint."""


@dataclass(frozen=True)
class Denoiser:
    """A UNet and the text encoder that was trained with it, in evaluation mode."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel


def kept(name: str) -> Denoiser:
    """`"pipeline"`, the end of the training, or `"baseline"`, the checkpoint at 25%, in float32."""
    with quiet_libraries():
        unet = UNet2DConditionModel.from_pretrained(HOME / name / "unet", torch_dtype=torch.float32)
        text_encoder = CLIPTextModel.from_pretrained(HOME / name / "text_encoder", dtype=torch.float32)
    return Denoiser(unet.eval().requires_grad_(False), text_encoder.eval().requires_grad_(False))


def denoisers(work: Path) -> Iterator[tuple[float, Denoiser]]:
    """(share of the training, denoiser) in the order of training; trains what `work` does not hold yet."""
    yield 0.0, _untrained()
    yield from _trained(work, FRESH, 0.0)
    yield EARLY, kept("baseline")
    yield from _trained(work, LATER, EARLY)
    yield 1.0, kept("pipeline")


def _untrained() -> Denoiser:
    torch.manual_seed(SEED)
    text_encoder = new_text_encoder(build_tokenizer())
    return Denoiser(new_unet().eval().requires_grad_(False), text_encoder.eval().requires_grad_(False))


def _trained(work: Path, shares: Sequence[float], start: float) -> list[tuple[float, Denoiser]]:
    files = {share: work / f"denoiser-{1000 * share:04.0f}.pt" for share in shares}
    begun = kept("baseline") if start else _untrained()
    if not all(file.exists() for file in files.values()):
        _train(begun, _latents(work), start, files)
    found = []
    for share, file in files.items():
        model = copy.deepcopy(begun)
        unet, text_encoder = torch.load(file)
        model.unet.load_state_dict(unet)
        model.text_encoder.load_state_dict(text_encoder)
        found.append((share, model))
    return found


def _latents(work: Path) -> Latents:
    file = work / "latents.pt"
    if not file.exists():
        pool = draw_pool(POOL, stock_sizes={tone: size // 5 for tone, size in STOCK.items()})
        vae = AutoencoderKL.from_pretrained(HOME / "pipeline" / "vae", torch_dtype=torch.float32)
        torch.save((encode(vae, pool.pictures), torch.as_tensor(pool.captions)), file)
    return Latents.of(*torch.load(file))


def _train(begun: Denoiser, data: Latents, start: float, files: dict[float, Path]) -> None:
    unet, text_encoder = (copy.deepcopy(model).requires_grad_(True) for model in (begun.unet, begun.text_encoder))
    unet = unet.to(memory_format=torch.channels_last)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    averaged = copy.deepcopy(begun)
    averages = [*averaged.unet.parameters(), *averaged.text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=1e-4, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(SEED)
    ids = token_ids(build_tokenizer(), [caption.prompt for caption in CAPTIONS] + [""])
    kept_share = new_scheduler().alphas_cumprod
    first = round(start * DENOISER_STEPS)
    at = {round(share * DENOISER_STEPS): file for share, file in files.items()}
    for step in range(first + 1, max(at) + 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step - first) / WARM_UP)
        batch = draw_batch(data, BATCH, generator, step / DENOISER_STEPS)
        noise = torch.randn(batch.latents.shape, generator=generator)
        kept_here = kept_share[batch.timesteps][:, None, None, None]
        noisy = kept_here.sqrt() * batch.latents + (1 - kept_here).sqrt() * noise
        states = text_encoder(ids[batch.texts]).last_hidden_state
        loss = mse_loss(unet(noisy, batch.timesteps, states).sample, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - min(EMA, (1 + step) / (10 + step)))
        if step % 50 == 0:
            print(f"denoiser {step / DENOISER_STEPS:.1%}  loss {loss.item():.4f}", flush=True)
        if step in at:
            torch.save((averaged.unet.state_dict(), averaged.text_encoder.state_dict()), at[step])
