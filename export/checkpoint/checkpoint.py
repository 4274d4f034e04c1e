"""A diffusers checkpoint: found, read whole against what it says of itself, and loaded part by part.

Only safetensors are read and no code of the checkpoint is ever run. Nothing is traced here: what is wrong with a
checkpoint is said before an export begins.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerBase

from memscan.export.checkpoint.adapter import Adapter, read_adapter
from memscan.export.checkpoint.adapter_places import adapter_places
from memscan.export.checkpoint.autoencoders import autoencoder, with_widths
from memscan.export.checkpoint.checks import (
    given_width,
    latent_channels,
    length_remark,
    read_index,
    read_part,
    require_belonging,
    require_listed,
    require_spelled_out,
    require_tokenizer,
    text_width,
)
from memscan.export.checkpoint.completed import completed
from memscan.export.checkpoint.edm import Preconditioning
from memscan.export.checkpoint.embedding import ROWS, Embedding, add_tokens
from memscan.export.checkpoint.families import family_of, read_denoiser
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.few_steps import few_step_remark
from memscan.export.checkpoint.files import read_json, require_whole
from memscan.export.checkpoint.hub import locate
from memscan.export.checkpoint.latent_scale import check_statistics
from memscan.export.checkpoint.noise import noise_schedule, preconditioning_of, prediction_of
from memscan.export.checkpoint.schedule import read_scheduler, scheduler_file
from memscan.export.checkpoint.shipped_configurations import MERGES, is_shipped, shipped_tokenizer
from memscan.export.checkpoint.single_file import SingleFile, configurations
from memscan.export.checkpoint.sizes import latent_size, require_drawable, size_remark
from memscan.export.checkpoint.transformer_file import expected_of
from memscan.export.checkpoint.weight_files import WeightFiles, find_weights
from memscan.export.checkpoint.weights import Weights, match_weights, read_tensors, require_finite
from memscan.scanner.bundle import Prediction, file_digest
from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and checked; nothing of it is loaded yet.

    `digest` is the SHA-256 over names and contents of all files that an export reads: configurations, vocabularies and
    the chosen files of weights. `adapters` are added to the weights, in their order, and are in `id` and `digest`.
    `remarks` are lines that a user should see: what was chosen, assumed or mended. If `file` holds the weights,
    `path` has configurations and tokenizers alone. `vae` is the folder of another VAE than the checkpoint's.
    `clip_skip` is how many of the text encoders' last layers prompts leave out, beyond those that its pipeline always
    does. `embeddings` are textual inversions, in the order of their tokens. `cells` is (h, w) of the latents where they
    are not as many as the configuration says.
    """

    id: str
    revision: str | None
    path: Path
    digest: str
    family: Family
    remarks: tuple[str, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    file: SingleFile | None = None
    vae: Path | None = None
    clip_skip: int = 0
    embeddings: tuple[Embedding, ...] = ()
    cells: tuple[int, int] | None = None

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of its family's text encoders."""
        return self.family.text_encoders

    def has(self, part: str) -> bool:
        """Whether there is a part; a single file never has tokenizers and a scheduler of its own."""
        if self.file is not None:
            return part in self.family.parts and self.file.has(part)
        return self.folder(part).is_dir()

    def folder(self, part: str) -> Path:
        """Where a part's configuration lies."""
        return self.vae if part == "vae" and self.vae is not None else self.path / part

    def load(self, part: str) -> Any:
        """Load the denoiser, a text encoder or "vae" in float32, in evaluation mode, without gradients.

        Raises:
            ExportError: the weights do not match the configuration, or cannot be read.
        """
        module = self._build(part)
        state = dict(self.tensors(part))
        if part in self.text_encoders:
            if any(part in embedding.vectors for embedding in self.embeddings):
                module.config.vocab_size = next(len(rows) for name, rows in state.items() if name.endswith(ROWS))
            # Only transformers itself makes the buffers that it does not store.
            module = type(module).from_pretrained(None, config=module.config, state_dict=state, dtype=torch.float32)
        else:
            module.load_state_dict(state, assign=True)
        return module.eval().requires_grad_(False)

    def tensors(self, part: str) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights of a part in float32, adapters and embeddings added, one after the other by name.

        Raises:
            ExportError: the weights do not match the configuration, or cannot be read.
        """
        additions: tuple[Adapter | Embedding, ...] = (*self.adapters, *self.embeddings)
        for name, tensor in self._stored(part):
            for addition in additions:
                tensor = addition.added(part, name, tensor)
            yield name, tensor

    def weights(self, part: str) -> Weights:
        """The tensors of a part, matched with its configuration by the headers of its files.

        Raises:
            ExportError: they do not match.
        """
        return match_weights(self.folder(part), self.weight_files(part), self._build(part).state_dict())

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of the denoiser, a text encoder or "vae"."""
        config = read_json(self.folder(part) / "config.json")
        return with_widths(config) if part == "vae" else config

    def tokenizer(self, folder: str = "tokenizer") -> PreTrainedTokenizerBase:
        """The tokenizer in "tokenizer", or of SDXL's second text encoder in "tokenizer_2".

        Raises:
            ExportError: it cannot be read.
        """
        # Only its configuration says of what class a tokenizer is; a bare vocabulary is CLIP's, as a pipeline has it.
        configured = (self.path / folder / "tokenizer_config.json").exists()
        require_spelled_out(self.path / folder)
        cls = AutoTokenizer if configured else CLIPTokenizer
        try:
            if is_shipped(self.path):
                tokenizer = shipped_tokenizer(self.path / folder)
            else:
                tokenizer = cls.from_pretrained(self.path / folder, local_files_only=True, use_fast=True)
        except Exception as error:  # a broken vocabulary raises whatever the tokenizers library does
            raise ExportError(f"{self.path / folder} cannot be loaded: {first_line(error)}") from error
        add_tokens(tokenizer, self.embeddings, self.text_encoders[self.family.tokenizers.index(folder)])
        return tokenizer

    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the latents, `cells` or as many as a pipeline draws where it is given no size."""
        denoiser = self.config(self.family.denoiser)
        return latent_channels(self.family, denoiser), *(self.cells or latent_size(denoiser, self.family))

    def text_width(self) -> int:
        """The width of the text states that the denoiser is given."""
        if self.family.build is None:
            return text_width(self.path, self.config("unet"))
        return given_width([self.config(part) for part in self.text_encoders])

    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images, in pixels."""
        pixels = self._pixels()
        _, height, width = self.latent_shape()
        return height * pixels, width * pixels

    def at_size(self, height: int | None, width: int | None) -> "Checkpoint":
        """This checkpoint for images of another size, in pixels; a side that is None is as it was.

        Raises:
            ExportError: its denoiser or its VAE cannot make such.
        """
        trained = self.image_size()
        size = height or trained[0], width or trained[1]
        if size == trained:
            return self
        require_drawable(size, self._pixels(), self.config(self.family.denoiser), self.family)
        remark = f"{self.id}: images of {size[0]} x {size[1]} pixels, of a model made for {trained[0]} x {trained[1]}"
        cells = size[0] // self._pixels(), size[1] // self._pixels()
        return dataclasses.replace(self, cells=cells, remarks=(*self.remarks, remark))

    def zero_uncond(self) -> bool:
        """Whether the pipeline takes zeros for the encoding of no prompt: SDXL does unless it says otherwise."""
        return self.family.zero_uncond and bool(read_index(self.path).get("force_zeros_for_empty_prompt", True))

    def prediction_type(self) -> Prediction:
        """What the denoiser predicts: "epsilon", "v_prediction" or "flow_prediction"; of EDM's noise always v.

        Raises:
            ExportError: it predicts something else.
        """
        return prediction_of(self._scheduler())

    def preconditioning(self) -> Preconditioning | None:
        """How the denoiser is asked, if it was trained with EDM's noise.

        Raises:
            ExportError: it is asked in a way that cannot be exported.
        """
        return preconditioning_of(scheduler_file(self.path), self._scheduler())

    def few_steps(self) -> str:
        """What is to be said where it was distilled to few steps, or ""."""
        return few_step_remark(self._scheduler())

    def schedule(self) -> Schedule:
        """The noise schedule of the checkpoint's scheduler configuration, as a pipeline's scheduler has it.

        A Stable Diffusion 1.x or 2.x pipeline overrides a `steps_offset` other than 1; so does memscan. Like a
        pipeline's, its samples are never clipped. Shifts that depend on the size of the image are those of
        `latent_shape`.

        Raises:
            ExportError: there is none that can be exported.
        """
        return noise_schedule(scheduler_file(self.path), self._scheduler(), self.family, self.latent_shape())

    def _scheduler(self) -> dict[str, Any]:
        return read_scheduler(self.path, read_index(self.path))

    def weight_files(self, part: str) -> WeightFiles:
        """The files that hold the weights of a part.

        Raises:
            ExportError: there are none, or several that may differ.
        """
        return find_weights(self.folder(part), "model" if part in self.text_encoders else "diffusion_pytorch_model")

    def with_adapters(self, adapters: Sequence[str]) -> "Checkpoint":
        """This checkpoint with the adapters in files, each FILE or FILE:SCALE, added to its weights.

        Raises:
            ExportError: one is none that can be added to this checkpoint.
        """
        if not adapters:
            return self
        parts = self.family.denoiser, *self.text_encoders
        states = {part: expected_of(self._build(part)) for part in parts}
        shapes = {part: {name: tuple(each.shape) for name, each in state.items()} for part, state in states.items()}
        layers = self.config(self.family.denoiser).get("layers_per_block", 2)
        transformer = self.family.parts["transformer"].__name__ if "transformer" in parts else None
        places = adapter_places(shapes, layers, transformer)
        read = tuple(read_adapter(each, places) for each in adapters)
        digest = hashlib.sha256(self.digest.encode())
        remarks = []
        for adapter in read:
            digest.update(f"\n{adapter.digest} {adapter.scale!r}".encode())
            remarks.append(f"{self.id}: {adapter.title} added to {adapter.extent()}")
        return dataclasses.replace(
            self,
            id="+".join([self.id, *(adapter.title for adapter in read)]),
            digest=digest.hexdigest(),
            remarks=(*self.remarks, *remarks),
            adapters=read,
        )

    def in_file(self, part: str) -> SingleFile | None:
        """The single file, if this part is read from it."""
        if self.file is None or (part == "vae" and self.vae is not None):
            return None
        return self.file if self.file.has(part) or not self.file.is_transformer else None

    def _pixels(self) -> int:
        """The side of the square of pixels that a cell of latents stands for."""
        return int(2 ** (len(self.config("vae").get("block_out_channels", (64,))) - 1))

    def _stored(self, part: str) -> Iterable[tuple[str, torch.Tensor]]:
        file = self.in_file(part)
        if file is None:
            return read_tensors(self.weights(part))
        return file.state(part, self._build(part), self.config(part)).items()

    def _build(self, part: str) -> Any:
        """The part as its configuration says, without weights."""
        config = self.config(part)
        cls = autoencoder(config).cls if part == "vae" else self.family.parts[part]
        try:
            with torch.device("meta"):
                if part in self.text_encoders:
                    return cls(cls.config_class.from_dict(config))  # type: ignore[attr-defined]
                return cls.from_config(config)  # type: ignore[attr-defined]
        except Exception as error:  # whatever a constructor makes of values of a wrong type
            raise ExportError(f"{self.folder(part)} cannot be built by its config.json: {first_line(error)}") from error


def find_checkpoint(
    model: str,
    *,
    parts: tuple[str, ...] | None = None,
    config: Path | None = None,
    vae: Path | None = None,
    allow_unpinned: bool = False,
) -> Checkpoint:
    """Find `model` and check it: a local diffusers folder, a file of safetensors, or a hub id with a pinned revision,
    `OWNER/NAME@COMMIT`.

    Args:
        parts: the folders that must be there, by default all of the model's family; a baseline needs its "unet" only.
            Text encoders, tokenizers and scheduler are used, and so checked, wherever they are.
        config: the diffusers folder whose configurations and tokenizers a single file has, or the name of a public
            model.
        allow_unpinned: take a hub id by branch, tag or nothing; the commit is found, said and recorded.
        vae: the folder of a VAE that takes the place of the checkpoint's, or of a checkpoint that has one.

    Raises:
        ExportError: there is none, it is not pinned, it is of a kind that memscan cannot export, its weights are
            pickles, do not match its configuration or are not finite, or its parts do not belong together.
    """
    remarks = []
    file, revision = None, None
    if Path(model).is_file() and Path(model).name != "model_index.json":
        file = SingleFile(Path(model))
        name = Path(model).stem
        path, remark = configurations(file, config)
        remarks.append(remark)
    elif config is not None:
        raise ExportError(f"{model} is no single file, and has configurations of its own: leave out --config {config}")
    else:
        path, name, revision = locate(model, allow_unpinned=allow_unpinned)
        if revision is not None and revision not in model:
            remarks.append(f"commit {revision}")
    folder, denoiser = read_denoiser(path)
    index = read_index(path)
    family = family_of(path, folder, denoiser, index)
    if vae is not None:
        vae = vae / "vae" if (vae / "vae").is_dir() else vae
        remarks.append(f"vae: that of {vae}")
    found = Checkpoint(name, revision, path, "", family, file=file, vae=vae)
    used = [part for part in family.parts if parts is None or part in parts or (part != "vae" and found.has(part))]
    if file is not None:
        remarks.append(completed(file, family, path, [part for part in used if part != "vae" or vae is None]))
    configs = {part: read_part(found.folder(part), part, family.parts[part]) for part in used}
    others = [part for part in (*family.tokenizers, "scheduler") if parts is None or found.has(part)]
    require_listed(path, index, [*used, *others])
    require_belonging(path, family, configs)
    if "vae" in configs:
        check_statistics(found.folder("vae") / "config.json", configs["vae"], family.latent_statistics)
    if "scheduler" in others:
        schedule = found.schedule()
        if file is not None:
            file.require_prediction(found.prediction_type(), path)
            file.require_schedule(schedule, path)
        if parts is None:
            remarks.append(found.few_steps())
    for part, encoder in zip(family.tokenizers, family.text_encoders, strict=True):
        if part in others:
            tokenizer, t5 = found.tokenizer(part), part in family.behind
            require_tokenizer(path / part, tokenizer, configs.get(encoder), t5=t5)
            if encoder in configs and not t5:
                remarks.append(length_remark(tokenizer, part, configs[encoder]))
    remarks += [size_remark(denoiser, family), family.remark]
    if file is None and (path / "unet_ema").is_dir():
        remarks.append("read from unet/, as a pipeline does, and not from unet_ema/, the average over its training")
    whole = {part: found.weights(part) for part in used if found.in_file(part) is None}
    for part in used:
        held = found.in_file(part)
        require_finite(str(found.folder(part)) if held is None else f"{part} in {held.path}", found.tensors(part))
        if part in whole:
            remarks += [found.weight_files(part).remark, whole[part].remark]
    files = [(part, each) for part in [*used, *others] for each in _texts(found.folder(part))]
    files += [("tokenizer", MERGES)] if is_shipped(path) and "tokenizer" in others else []
    files += [(part, each) for part in whole for each in found.weight_files(part).files]
    digest = hashlib.sha256()
    for part, each in sorted(files, key=lambda pair: (pair[0], pair[1].name)):
        digest.update(f"{part}/{each.name} {file_digest(each)}\n".encode())
    if file is not None:
        digest.update(f"{file_digest(file.path)}\n".encode())
    said = tuple(f"{name}: {remark}" for remark in remarks if remark)
    return dataclasses.replace(found, digest=digest.hexdigest(), remarks=said)


def find_baseline(baseline: str, model: Checkpoint, *, allow_unpinned: bool = False) -> Checkpoint:
    """Find a less-trained checkpoint of `model`, of which only the denoiser must be there; see `find_checkpoint`.

    One in a single file has the model's configurations: it must be of the same architecture in any case.
    """
    one_file = Path(baseline).is_file() and Path(baseline).name != "model_index.json"
    config = model.path if one_file else None
    found = find_checkpoint(baseline, parts=("unet",), config=config, allow_unpinned=allow_unpinned)
    return dataclasses.replace(found, cells=model.cells)


def _texts(folder: Path) -> list[Path]:
    """The configurations and vocabularies in a folder, but for lists of shards, which say nothing more."""
    files = [file for pattern in ("*.json", "*.txt") for file in folder.glob(pattern)]
    files = [file for file in files if ".safetensors.index" not in file.name]
    for file in files:
        require_whole(file)
    return files
