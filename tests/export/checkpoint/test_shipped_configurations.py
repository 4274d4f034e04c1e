"""The configurations that ship are those of the public models, and their tokenizer is CLIP's."""

import hashlib
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import pytest
import regex
import torch
import transformers
from safetensors.torch import save_file

from memscan.export.checkpoint import checkpoint, shipped_configurations
from memscan.export.checkpoint.autoencoders import AUTOENCODERS
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.checks import read_index, read_part, require_belonging, require_tokenizer
from memscan.export.checkpoint.families import family_of, read_denoiser
from memscan.export.checkpoint.shipped_configurations import MERGES, NAMES, SHIPPED, configured_as, shipped_tokenizer
from memscan.export.checkpoint.single_file import SingleFile, configurations
from memscan.export.checkpoint.sizes import latent_size
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.original import save_as_one_file
from tests.export.checkpoint.test_weights import assert_same_state
from tests.tiny_pipeline import save_pipeline

CLIP_L, CLIP_H, CLIP_G = 123_060_480, 340_387_840, 694_659_840
VAE = 83_653_863
PARAMETERS = {
    "stable-diffusion-1": {"unet": 859_520_964, "text_encoder": CLIP_L, "vae": VAE},
    "stable-diffusion-2": {"unet": 865_910_724, "text_encoder": CLIP_H, "vae": VAE},
    "stable-diffusion-2-v": {"unet": 865_910_724, "text_encoder": CLIP_H, "vae": VAE},
    "stable-diffusion-xl": {"unet": 2_567_463_684, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "vae": VAE},
}
"""Of the published weights."""


def read(name: str, file: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((SHIPPED / name / file).read_text())
    return record


def parameters(name: str, part: str) -> int:
    config = read(name, f"{part}/config.json")
    with torch.device("meta"):
        if part.startswith("text"):
            cls = getattr(transformers, config["architectures"][0])
            module = cls(transformers.CLIPTextConfig.from_dict(config))
        else:
            module = getattr(diffusers, config["_class_name"]).from_config(config)
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in PARAMETERS.items() for part in parts])
def test_every_part_has_the_parameters_of_the_published_one(name: str, part: str) -> None:
    assert parameters(name, part) == PARAMETERS[name][part]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_checkpoint_without_weights(name: str) -> None:
    path = SHIPPED / name
    unet = read(name, "unet/config.json")
    family = family_of(path, *read_denoiser(path), read_index(path))
    configs = {part: read_part(path / part, part, cls) for part, cls in family.parts.items()}
    assert {*configs} == {*PARAMETERS[name]}
    require_belonging(path, family, configs)
    for part, encoder in zip(family.tokenizers, family.text_encoders, strict=True):
        require_tokenizer(path / part, shipped_tokenizer(path / part), configs[encoder])
    assert latent_size(unet, family) == (unet["sample_size"],) * 2
    assert configs["vae"]["_class_name"] in AUTOENCODERS


@pytest.mark.parametrize(
    ("name", "heads", "activation", "padding", "prediction", "size", "scale"),
    [
        ("stable-diffusion-1", 8, "quick_gelu", 49407, "epsilon", 64, 0.18215),
        ("stable-diffusion-2", [5, 10, 20, 20], "gelu", 0, "epsilon", 64, 0.18215),
        ("stable-diffusion-2-v", [5, 10, 20, 20], "gelu", 0, "v_prediction", 96, 0.18215),
        ("stable-diffusion-xl", [5, 10, 20], "quick_gelu", 49407, "epsilon", 128, 0.13025),
    ],
)
def test_what_no_shape_tells(
    name: str, heads: object, activation: str, padding: int, prediction: str, size: int, scale: float
) -> None:
    unet, scheduler = read(name, "unet/config.json"), read(name, "scheduler/scheduler_config.json")
    assert (unet["attention_head_dim"], unet["sample_size"]) == (heads, size)
    assert read(name, "text_encoder/config.json")["hidden_act"] == activation
    assert shipped_tokenizer(SHIPPED / name / "tokenizer").pad_token_id == padding
    assert read(name, "vae/config.json")["scaling_factor"] == scale
    betas = {key: scheduler[key] for key in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")}
    assert betas == {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
    }
    assert (scheduler["prediction_type"], scheduler["steps_offset"]) == (prediction, 1)


def test_the_second_tokenizer_and_encoder_of_xl() -> None:
    assert shipped_tokenizer(SHIPPED / "stable-diffusion-xl" / "tokenizer_2").pad_token_id == 0
    assert read("stable-diffusion-xl", "text_encoder_2/config.json")["hidden_act"] == "gelu"
    assert read("stable-diffusion-xl", "model_index.json")["force_zeros_for_empty_prompt"] is True


def test_the_merges_are_those_that_were_published_with_the_models() -> None:
    digest = hashlib.sha256(MERGES.read_bytes()).hexdigest()
    assert digest == "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"


TEXT = """
a photo of the Cat DOG sunset isn't we've it's rock'n'roll 42 3.14 1980s 4k trending artstation, #tag @user "quoted"
(masterpiece:1.2) --ar 16:9 hyperrealistic antidisestablishmentarianism zxqj !!! ... <b> &amp; / \\ caf\u00e9 na\u00efve
Dvo\u0159\u00e1k \u732b \U0001f408 \u00bd \u0393\u03b5\u03b9\u03ac \u2014 x_1 $5 50% a.b.c
"""


GAPS = (" ", "  ", "\t", "\n", ", ")


def prompts() -> list[str]:
    words, generator = TEXT.split(), torch.Generator().manual_seed(0)

    def some(count: int, limit: int) -> list[int]:
        drawn: list[int] = torch.randint(0, limit, (count,), generator=generator).tolist()
        return drawn

    return [
        "".join(words[word] + GAPS[gap] for word, gap in zip(some(n, len(words)), some(n, len(GAPS)), strict=True))
        for n in some(300, 24)
    ]


class LiteralClip:
    """CLIP's tokenizer, as its authors describe it: lower case, words by a pattern, bytes, merges by their rank."""

    PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

    def __init__(self) -> None:
        merges = [tuple(line.split()) for line in MERGES.read_text().splitlines()[1:]]
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        rest = [byte for byte in range(256) if byte not in printable]
        self.symbols = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
        alphabet = [*self.symbols.values()]
        tokens = [*alphabet, *(symbol + "</w>" for symbol in alphabet), *("".join(pair) for pair in merges)]
        self.ids = {token: index for index, token in enumerate(tokens)}

    def __call__(self, prompt: str) -> list[int]:
        text = regex.sub(r"\s+", " ", prompt).strip().lower()
        return [49406, *(i for word in self.PATTERN.findall(text) for i in self.word(word)), 49407]

    def word(self, word: str) -> list[int]:
        parts = [self.symbols[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while True:
            pairs = [(self.ranks.get(pair, 1 << 20), index) for index, pair in enumerate(pairwise(parts))]
            rank, index = min(pairs, default=(1 << 20, 0))
            if rank == 1 << 20:
                return [self.ids[part] for part in parts]
            parts[index : index + 2] = [parts[index] + parts[index + 1]]


def test_ids_are_clips() -> None:
    tokenizer, literal = shipped_tokenizer(SHIPPED / "stable-diffusion-1" / "tokenizer"), LiteralClip()
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)
    for prompt in prompts():
        assert tokenizer(prompt).input_ids == literal(prompt), prompt


def keys(kind: str) -> dict[str, torch.Tensor]:
    encoder = {
        "stable-diffusion-1": "cond_stage_model.transformer.x",
        "stable-diffusion-2": "cond_stage_model.model.x",
        "stable-diffusion-xl": "conditioner.embedders.1.model.x",
    }[kind]
    return dict.fromkeys(["model.diffusion_model.input_blocks.0.0.weight", encoder], torch.zeros(1))


@pytest.mark.parametrize("kind", ["stable-diffusion-1", "stable-diffusion-xl"])
def test_a_file_alone_is_configured_by_the_names_of_its_weights(tmp_path: Path, kind: str) -> None:
    save_file({key: value.clone() for key, value in keys(kind).items()}, tmp_path / "dreams.safetensors")
    path, remark = configurations(SingleFile(tmp_path / "dreams.safetensors"), None)
    assert path == SHIPPED / kind
    assert remark.endswith(f"by the names of its weights; configured as {kind}, the public model")


def test_what_no_weight_tells_is_asked(tmp_path: Path) -> None:
    save_file({key: value.clone() for key, value in keys("stable-diffusion-2").items()}, tmp_path / "x.safetensors")
    file = SingleFile(tmp_path / "x.safetensors")
    with pytest.raises(
        ExportError, match=r"eps, in images of 512 pixels, or v, in those of 768: give --config stable-"
    ):
        configurations(file, None)
    assert configurations(file, Path("stable-diffusion-2-v"))[0] == SHIPPED / "stable-diffusion-2-v"


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert configured_as(tmp_path) == tmp_path
    with pytest.raises(
        ExportError, match=r"^no folder nothing: give by --config a diffusers folder, or one of stable-d"
    ):
        configured_as(Path("nothing"))


def test_a_whole_file_needs_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a public model in the place of one that ships which is tiny, but for its vocabulary."""
    pipeline = save_pipeline(tmp_path / "tiny")
    wide = transformers.CLIPTextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, projection_dim=32
    )
    transformers.CLIPTextModel(wide).save_pretrained(pipeline / "text_encoder")
    (tmp_path / "file").mkdir()
    file = save_as_one_file(pipeline, tmp_path / "file" / "dreams.safetensors")
    shipped = tmp_path / "shipped" / "stable-diffusion-1"
    shutil.copytree(pipeline, shipped, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer", "vocabulary"))
    shutil.copytree(SHIPPED / "stable-diffusion-1" / "tokenizer", shipped / "tokenizer")
    monkeypatch.setattr(shipped_configurations, "SHIPPED", shipped.parent)
    found = find_checkpoint(str(file))
    for part, cls in found.family.parts.items():
        assert_same_state(found.load(part), cls.from_pretrained(pipeline / part))  # type: ignore[attr-defined]
    assert found.tokenizer()("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (found.prediction_type(), found.latent_shape()) == ("epsilon", (4, 8, 8))
    assert "configured as stable-diffusion-1, the public model" in found.remarks[0]
    digest = found.digest
    other = tmp_path / "merges.txt"
    other.write_bytes(MERGES.read_bytes() + b"x y\n")
    monkeypatch.setattr(checkpoint, "MERGES", other)
    assert find_checkpoint(str(file)).digest != digest
