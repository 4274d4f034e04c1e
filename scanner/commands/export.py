"""`memscan export`: a diffusers checkpoint becomes a bundle."""

import dataclasses
import shlex
from pathlib import Path
from typing import Literal

import click

from memscan.scanner.commands.parameters import UnicodeText
from memscan.scanner.errors import UsageError


@click.command("export")
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    metavar="CHECKPOINT",
    help="Less-trained checkpoint of the same model, for dh_base, by which masks are then made, and ds_base.",
)
@click.option(
    "--lora",
    "loras",
    multiple=True,
    metavar="FILE[:SCALE]",
    help="Adapters of low rank, in safetensors under kohya's or diffusers' names, added to the weights; may be given "
    "several times.",
)
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    metavar="FILE[:TOKEN]",
    help="Textual inversion, in safetensors, whose token prompts may then use; may be given several times.  [default "
    "TOKEN: the file's own, or its name]",
)
@click.option("--baseline-without-lora", is_flag=True, help="The checkpoint without the --lora files is the baseline.")
@click.option(
    "--config",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER|NAME",
    help="Diffusers folder whose configurations and tokenizers a MODEL in one file has, or the public model that it is "
    "a fine-tune of: stable-diffusion-1, stable-diffusion-2, stable-diffusion-2-v, stable-diffusion-xl.  [default: the "
    "folder beside it, else by the names of its weights, but for SD 3 and FLUX.1]",
)
@click.option(
    "--vae",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a VAE, or of a checkpoint that has one, in place of the model's.",
)
@click.option("--height", type=click.IntRange(1), metavar="PIXELS", help="Of the images.  [default: the model's own]")
@click.option("--width", type=click.IntRange(1), metavar="PIXELS", help="Of the images.  [default: the model's own]")
@click.option(
    "--clip-skip",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Leave the last N layers of the text encoders out for prompts, as in diffusers; what other programs call a "
    "clip skip of 2 is 1 here.",
)
@click.option(
    "--allow-unpinned",
    is_flag=True,
    help="Take hub ids by branch or tag, OWNER/NAME@BRANCH, or OWNER/NAME; the commit of today is recorded.",
)
@click.option("--tangents", type=click.IntRange(1, 64), default=8, show_default=True, help="Tangents in one call.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the denoiser's products and activations; sums, text encoders and VAE compute in float32.",
)
@click.option(
    "--storage",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How the weights of whatever computes in float32 are stored.",
)
@click.option(
    "--certify-prompts",
    metavar="FILE",
    help="Prompts on which the cheaper derivatives are compared with the exact one: a manifest in any form, best of "
    "prompts that the model has memorized.  [default: a few built-in ones]",
)
@click.option("--no-certify", is_flag=True, help="Leave that comparison out: a scan then defaults to the exact one.")
@click.option(
    "--model-id",
    type=UnicodeText(),
    metavar="NAME",
    help="What results call the model.  [default: the folder's or the hub's name]",
)
def command(
    model: str,
    out: Path,
    baseline: str | None,
    loras: tuple[str, ...],
    embeddings: tuple[str, ...],
    baseline_without_lora: bool,
    config: Path | None,
    vae: Path | None,
    clip_skip: int,
    height: int | None,
    width: int | None,
    allow_unpinned: bool,
    tangents: int,
    precision: Literal["fp32", "fp16", "bf16"],
    storage: Literal["float32", "float16"],
    certify_prompts: str | None,
    no_certify: bool,
    model_id: str | None,
) -> None:
    """Turn a Stable Diffusion checkpoint into a bundle that `memscan run --model` scans.

    MODEL is a local diffusers folder with safetensors weights, a whole model in one such file, or a hub id pinned by a
    commit, OWNER/NAME@COMMIT.
    Needs the extra `memscan[export]`; the scan itself does not. Families: Stable Diffusion 1.x, 2.x and XL, also for
    inpainting, depth and editing, XL's refiner, Stable Diffusion 3 and FLUX.1; docs/models.md has all forms.

    \b
    memscan export ./stable-diffusion-v1-4 sd14.bundle --baseline ./stable-diffusion-v1-1
    memscan run prompts.parquet --model sd14.bundle
    """
    try:
        from memscan.export.quiet import quiet_libraries

        with quiet_libraries():
            from memscan.export.assemble import ExportOptions, export_bundle
            from memscan.export.certificate.prompts import PROMPTS
            from memscan.export.checkpoint.checkpoint import find_baseline, find_checkpoint
            from memscan.export.checkpoint.clip_skip import with_clip_skip
            from memscan.export.checkpoint.target import require_free
            from memscan.export.checkpoint.textual_inversions import read_embeddings, with_embeddings
    except (ImportError, OSError) as error:  # OSError: a library that they load is missing
        from memscan.scanner.runtimes.failures import import_failure

        raise import_failure("export", "memscan.export", error, 'pip install "memscan[export]"') from error
    from memscan.scanner.input.prompts import read_prompts

    require_free(out)
    if no_certify and certify_prompts is not None:
        raise UsageError("--certify-prompts and --no-certify contradict each other: give one of them")
    if baseline_without_lora and not loras:
        raise UsageError("--baseline-without-lora needs --lora: without it the baseline is the model itself")
    if baseline_without_lora and baseline is not None:
        raise UsageError("--baseline and --baseline-without-lora contradict each other: give one of them")
    prompts = () if no_certify else PROMPTS if certify_prompts is None else read_prompts(certify_prompts)
    if model_id is not None and (not model_id.strip() or not model_id.isprintable()):
        raise UsageError("--model-id: expected a name in one line")
    with quiet_libraries():
        base = find_checkpoint(model, config=config, vae=vae, allow_unpinned=allow_unpinned).at_size(height, width)
        concepts = read_embeddings(base, embeddings)
        base = with_embeddings(with_clip_skip(base, clip_skip), concepts)
        less_trained = dataclasses.replace(base, remarks=()) if baseline_without_lora else None
        if baseline is not None:
            less_trained = find_baseline(baseline, base, allow_unpinned=allow_unpinned)
            less_trained = with_embeddings(with_clip_skip(less_trained, clip_skip), concepts)
        checkpoint = base.with_adapters(loras)
        export_bundle(
            checkpoint if model_id is None else dataclasses.replace(checkpoint, id=model_id),
            out,
            baseline=less_trained,
            options=ExportOptions(tangents=tangents, precision=precision, storage=storage, certify=prompts),
            report=click.echo,
        )
    click.echo(f"bundle written to {out}; scan with: memscan run manifest.parquet --model {shlex.quote(str(out))}")
