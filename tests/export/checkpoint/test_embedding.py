"""Textual inversions: ids and encodings are those that diffusers has after `load_textual_inversion`."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import Checkpoint, find_baseline, find_checkpoint
from memscan.export.checkpoint.textual_inversions import read_embeddings, with_embeddings
from memscan.export.checkpoint.tokenization import write_tokenizers
from memscan.scanner.bundle import open_bundle
from memscan.scanner.bundle_parts import AddedEmbedding, Concept
from memscan.scanner.cli import invoke
from memscan.scanner.errors import ExportError
from memscan.scanner.model.text import Tokenizer
from tests.analytic_bundle import write_analytic_bundle
from tests.export.checkpoint.spoil import Tensors
from tests.export.checkpoint.test_weights import assert_same_state

TOKEN = "<Cat-toy>"
PROMPTS = [
    "",
    "a photo of a cat",
    f"a photo of {TOKEN}, red",
    f"{TOKEN}s{TOKEN} <cat-toy> <CAT-TOY>",
    f"{TOKEN}_1 alone",
    f"{TOKEN}_1 and {TOKEN}",
    f"{TOKEN} " * 12,
    "dreamy house",
    "Dreamy dreamy_1",
]
WIDTH, SECOND_WIDTH = 32, 16


def vectors(count: int, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def saved(folder: Path, name: str, tensors: Tensors) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def with_files(pipeline: Path, *files: str) -> Checkpoint:
    checkpoint = find_checkpoint(str(pipeline))
    return with_embeddings(checkpoint, read_embeddings(checkpoint, files))


def spelled(checkpoint: Checkpoint, folder: Path) -> list[list[list[int]]]:
    """The ids of `PROMPTS` for each text encoder, as a scan of the exported tokenizers has them."""
    text = write_tokenizers(checkpoint, folder)
    bundle = write_analytic_bundle(folder / "analytic")
    each = Tokenizer(dataclasses.replace(bundle, path=folder, text=text)).each(PROMPTS)
    return [[tokens.ids[index].tolist() for tokens in each] for index in range(len(text.tokenizers))]  # type: ignore[union-attr]


def expected(pipeline: StableDiffusionPipeline, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    prompts = pipeline.maybe_convert_prompt(PROMPTS, tokenizer)
    ids: list[list[int]] = tokenizer(prompts, padding="max_length", truncation=True).input_ids
    return ids


@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (3, WIDTH)], ids=["a row", "one vector", "three"])
def test_the_form_of_diffusers(tiny_pipeline: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = saved(tmp_path, "learned_embeds", {TOKEN: torch.randn(shape)})
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    pipeline.load_textual_inversion(str(file.parent), weight_name=file.name)
    checkpoint = with_files(tiny_pipeline, str(file))
    assert spelled(checkpoint, tmp_path) == [expected(pipeline, pipeline.tokenizer)]
    assert_same_state(checkpoint.load("text_encoder"), pipeline.text_encoder)
    assert_same_state(checkpoint.load("unet"), pipeline.unet)


def test_several_files_in_their_order_and_one_named_by_the_file(tiny_pipeline: Path, tmp_path: Path) -> None:
    """The form that has no token in it is called by its name, or by what is given behind it."""
    files = [
        saved(tmp_path, "dreamy", {"emb_params": vectors(2)}),
        saved(tmp_path, "other", {"emb_params": vectors(3)}),
        saved(tmp_path, "third", {"<x>": vectors(1)}),
    ]
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    for file, token in zip(files, ("dreamy", TOKEN, None), strict=True):
        pipeline.load_textual_inversion(str(tmp_path), weight_name=file.name, token=token)
    checkpoint = with_files(tiny_pipeline, str(files[0]), f"{files[1]}:{TOKEN}", str(files[2]))
    assert spelled(checkpoint, tmp_path) == [expected(pipeline, pipeline.tokenizer)]
    assert_same_state(checkpoint.load("text_encoder"), pipeline.text_encoder)
    assert "dreamy.safetensors added 2 vectors to text_encoder, called by dreamy in prompts" in checkpoint.remarks[0]
    plain = find_checkpoint(str(tiny_pipeline))
    assert len({plain.digest, checkpoint.digest, with_files(tiny_pipeline, str(files[0])).digest}) == 3


@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_vectors_for_both_encoders_of_xl(tiny_xl_pipeline: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    tensors = dict(zip(names, (vectors(2), vectors(2, SECOND_WIDTH)), strict=True))
    file = saved(tmp_path, "style", tensors)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_xl_pipeline, add_watermarker=False)
    pairs = (pipeline.text_encoder, pipeline.tokenizer), (pipeline.text_encoder_2, pipeline.tokenizer_2)
    for tensor, (encoder, tokenizer) in zip(tensors.values(), pairs, strict=True):
        pipeline.load_textual_inversion(tensor, token=TOKEN, text_encoder=encoder, tokenizer=tokenizer)
    checkpoint = with_files(tiny_xl_pipeline, f"{file}:{TOKEN}")
    assert spelled(checkpoint, tmp_path) == [expected(pipeline, tokenizer) for _, tokenizer in pairs]
    assert_same_state(checkpoint.load("text_encoder"), pipeline.text_encoder)
    assert_same_state(checkpoint.load("text_encoder_2"), pipeline.text_encoder_2)


def test_a_folder_that_was_saved_with_a_concept(tiny_pipeline: Path, tmp_path: Path) -> None:
    """What a pipeline had loaded lies in its tokenizer and its encoder, and is all there is."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    pipeline.load_textual_inversion({TOKEN: vectors(3)})
    pipeline.save_pretrained(tmp_path / "saved")
    checkpoint = find_checkpoint(str(tmp_path / "saved"))
    assert spelled(checkpoint, tmp_path) == [expected(pipeline, pipeline.tokenizer)]
    assert_same_state(checkpoint.load("text_encoder"), pipeline.text_encoder)
    assert checkpoint.remarks == ()


def test_a_baseline_takes_the_same_tokens(tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path) -> None:
    model = with_files(tiny_pipeline, str(saved(tmp_path, "x", {TOKEN: vectors(2)})))
    early = find_baseline(str(tiny_baseline), model)
    with pytest.raises(ExportError, match=r"has another tokenizer than .*: not the same model$"):
        check_baseline(model, early)
    early = with_embeddings(early, model.embeddings)
    assert len(check_baseline(model, early)) == 1
    assert torch.equal(early.load("text_encoder").get_input_embeddings().weight[-2:], vectors(2))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {TOKEN: vectors(1, 48)},
            r"vectors of shape \[1, 48\], but the tokens of text_encoder are of width 32: it was",
        ),
        ({TOKEN: torch.zeros(2, 2, WIDTH)}, r"vectors of shape \[2, 2, 32\], but the tokens of text_encoder are of"),
        ({TOKEN: torch.zeros(0, WIDTH)}, r"vectors of shape \[0, 32\], but the tokens of text_encoder are of width"),
        ({TOKEN: torch.full((1, WIDTH), torch.nan)}, r"x\.safetensors has NaN or infinite values$"),
        ({"photo</w>": vectors(1)}, r"is called by the token photo</w>, but the tokenizer has photo</w> already: give"),
        ({"a": vectors(1), "b": vectors(1)}, r"holds a, b: a textual inversion has one tensor, or clip_l and clip_g"),
        ({" ": vectors(1)}, r"x\.safetensors has the token ' ': give another by FILE:TOKEN$"),
    ],
    ids=["width", "rank", "empty", "not finite", "known", "two", "no token"],
)
def test_what_is_no_textual_inversion_of_this_model_is_refused(
    tiny_pipeline: Path, tmp_path: Path, tensors: Tensors, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        with_files(tiny_pipeline, str(saved(tmp_path, "x", tensors)))


def test_a_token_is_given_once(tiny_pipeline: Path, tmp_path: Path) -> None:
    file = saved(tmp_path, "x", {TOKEN: vectors(2)})
    for second in (str(file), f"{file}:{TOKEN}_1"):
        with pytest.raises(ExportError, match=r"but the tokenizer has <Cat-toy>(_1)? already: give another by FILE:TO"):
            with_files(tiny_pipeline, str(file), second)


def test_a_pickle_and_a_file_that_is_not_there_are_refused(tiny_pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pt").touch()
    with pytest.raises(ExportError, match=r"x\.pt is no file of safetensors: memscan reads textual inversions from"):
        with_files(tiny_pipeline, str(tmp_path / "x.pt"))
    with pytest.raises(ExportError, match=r"^no file .*gone: give a textual inversion as FILE or FILE:TOKEN$"):
        with_files(tiny_pipeline, str(tmp_path / "gone"))


@pytest.mark.slow
def test_an_export_draws_what_diffusers_draws_of_the_concept(
    tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = saved(tmp_path, "x", {TOKEN: vectors(2)}), tmp_path / "out"
    options = "--tangents", "1", "--no-certify", "--embedding", str(file)
    assert invoke(["export", str(tiny_pipeline), str(out), *options]) == 0
    printed = capsys.readouterr().out
    assert f"{TOKEN}', seed 0, 4 steps" in printed
    proof = [line for line in printed.splitlines() if line.startswith("StableDiffusionPipeline")]
    assert [line.split()[1] for line in proof] == ["latents", "image"]
    assert all(line.endswith("ok") for line in proof)
    bundle = open_bundle(out)
    assert bundle.text.tokenizers[0].concepts == (Concept(TOKEN, 2),)
    (one,) = bundle.embeddings
    assert one == AddedEmbedding("x.safetensors", one.digest, TOKEN)
    assert invoke(["inspect", str(out)]) == 0
    assert f"embeddings   {TOKEN} of x.safetensors\n" in capsys.readouterr().out
