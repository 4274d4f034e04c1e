"""Stable Diffusion 3 checkpoints: recognised, checked and encoded as its pipeline does, with T5 and without."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import Checkpoint, find_baseline, find_checkpoint
from memscan.export.checkpoint.mmdit import Mmdit
from memscan.export.checkpoint.tokenization import write_tokenizers
from memscan.scanner.errors import ExportError
from memscan.scanner.model.padding import padding_of
from memscan.scanner.model.text import Tokens
from tests.export.checkpoint.spoil import edit
from tests.tiny_transformers import JOINT, POOLED, WIDTHS

PROMPTS = ["a photo of a cat", "red! blue!", ""]
T5_TOKENS = 256


def open_pipeline(path: Path, checkpoint: Checkpoint) -> StableDiffusion3Pipeline:
    lacking = dict.fromkeys(checkpoint.family.lacking)
    pipeline = StableDiffusion3Pipeline.from_pretrained(path, **lacking)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_it_is_recognised_with_all_its_encoders(tiny_sd3_pipeline: Path) -> None:
    found = find_checkpoint(str(tiny_sd3_pipeline))
    assert found.family.title == "Stable Diffusion 3"
    assert found.text_encoders == ("text_encoder", "text_encoder_2", "text_encoder_3")
    assert found.prediction_type() == "flow_prediction"
    assert found.latent_shape() == (16, 8, 8)
    assert found.image_size() == (32, 32)
    assert found.text_width() == JOINT
    assert found.remarks == ()


def test_without_t5_it_is_recognised_too_and_that_is_said(tiny_sd3_without_t5: Path) -> None:
    found = find_checkpoint(str(tiny_sd3_without_t5))
    assert found.text_encoders == ("text_encoder", "text_encoder_2")
    assert found.family.tokenizers == ("tokenizer", "tokenizer_2")
    assert found.family.lacking == ("text_encoder_3", "tokenizer_3")
    assert found.text_width() == sum(WIDTHS)
    assert found.remarks == ("tiny-sd3-without-t5: without text_encoder_3, as its pipeline runs it: zeros stand in",)


@pytest.mark.parametrize("with_t5", [True, False], ids=["T5", "no T5"])
def test_encodings_equal_the_pipelines(with_t5: bool, tiny_sd3_pipeline: Path, tiny_sd3_without_t5: Path) -> None:
    """What the transformer is given: without T5, behind the zeros that its network puts in their place."""
    path = tiny_sd3_pipeline if with_t5 else tiny_sd3_without_t5
    checkpoint = find_checkpoint(str(path))
    pipeline = open_pipeline(path, checkpoint)
    encoder = checkpoint.family.join(*(checkpoint.load(part) for part in checkpoint.text_encoders))
    ids = [
        tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        for tokenizer, length in (
            (pipeline.tokenizer, 20),
            (pipeline.tokenizer_2, 20),
            *([(pipeline.tokenizer_3, T5_TOKENS)] if with_t5 else []),
        )
    ]
    with torch.no_grad():
        states, _, pooled, _ = pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
        found, found_pooled = encoder(*ids)
    torch.testing.assert_close(found_pooled, pooled, rtol=0, atol=1e-6)
    assert states.shape == (3, 20 + T5_TOKENS, JOINT)
    if not with_t5:
        assert not states[:, 20:].any() and not states[:, :, sum(WIDTHS) :].any()
        states = states[:, :20, : sum(WIDTHS)]
    torch.testing.assert_close(found, states, rtol=0, atol=1e-6)
    shape = tuple(found.shape[1:])
    denoiser = checkpoint.family.build(checkpoint.load("transformer"), checkpoint.latent_shape(), shape)
    assert isinstance(denoiser.network, Mmdit)
    assert denoiser.network.missing == (0 if with_t5 else T5_TOKENS)


def test_the_rules_of_its_tokenizers_place_t5_behind(tiny_sd3_pipeline: Path, tmp_path: Path) -> None:
    text = write_tokenizers(find_checkpoint(str(tiny_sd3_pipeline)), tmp_path)
    assert [rule.max_length for rule in text.tokenizers] == [20, 20, T5_TOKENS]
    assert [rule.position for rule in text.tokenizers] == [0, 0, 20]
    assert [rule.bos_token_id is None for rule in text.tokenizers] == [False, False, True]
    assert (text.tokenizers[2].pad_token_id, text.tokenizers[2].eos_token_id) == (0, 1)
    assert text.length == 20 + T5_TOKENS
    assert not text.zero_uncond


def test_padding_is_told_of_each_encoders_positions(tiny_sd3_pipeline: Path, tmp_path: Path) -> None:
    text = write_tokenizers(find_checkpoint(str(tiny_sd3_pipeline)), tmp_path)
    end = [rule.eos_token_id for rule in text.tokenizers]
    ids = [np.full(rule.max_length, end[index]) for index, rule in enumerate(text.tokenizers)]
    for index, words in enumerate((3, 5, 2)):
        ids[index][:words] = 40
    padding = padding_of(Tokens(tuple(ids), truncated=False), text)
    assert np.flatnonzero(~padding).tolist() == [*range(6), *range(20, 23)]


def test_one_table_of_t5_stands_for_both_its_names(tiny_sd3_pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_sd3_pipeline, tmp_path / "copy")
    file = copy / "text_encoder_3/model.safetensors"
    tensors = load_file(file)
    names = {"shared.weight", "encoder.embed_tokens.weight"}
    (held,) = names & tensors.keys()
    (other,) = names - {held}
    whole = find_checkpoint(str(tiny_sd3_pipeline)).load("text_encoder_3")
    tensors[other] = tensors.pop(held)
    save_file(tensors, file, metadata={"format": "pt"})
    found = find_checkpoint(str(copy)).load("text_encoder_3")
    assert torch.equal(found.shared.weight, whole.shared.weight)
    save_file({**tensors, held: tensors[other].clone()}, file, metadata={"format": "pt"})
    both = find_checkpoint(str(copy)).load("text_encoder_3")
    assert torch.equal(both.encoder.embed_tokens.weight, whole.shared.weight)


def _without_tokenizer_json(path: Path) -> None:
    (path / "tokenizer_3/tokenizer.json").rename(path / "tokenizer_3/spiece.model")


def _without_t5_that_is_listed(path: Path) -> None:
    shutil.rmtree(path / "text_encoder_3")


def _of_another_transformer(path: Path) -> None:
    edit(path / "transformer/config.json", _class_name="PixArtTransformer2DModel")


def _with_narrow_pooling(path: Path) -> None:
    edit(path / "text_encoder_2/config.json", projection_dim=POOLED + 1)


def _with_other_states(path: Path) -> None:
    edit(path / "transformer/config.json", joint_attention_dim=JOINT + 8)


def _with_a_key_from_the_future(path: Path) -> None:
    edit(path / "transformer/config.json", registers=4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_tokenizer_json, r"tokenizer_3 has spiece.model alone; memscan reads tokenizer.json: make one by tr"),
        (_without_t5_that_is_listed, r"but its transformer is one of Stable Diffusion 3, which has text_encoder, tex"),
        (_of_another_transformer, r"holds a PixArtTransformer2DModel; memscan exports checkpoints whose transfor"),
        (_with_narrow_pooling, r"takes pooled text of width 40, but the text encoders give 41: these parts do not b"),
        (_with_other_states, r"attends to text of width 64, but the text encoders give 56: these parts do not belong"),
        (_with_a_key_from_the_future, r"has registers 4, a key that memscan does not know and may not ignore"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    spoil: Callable[[Path], None], message: str, tiny_sd3_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_sd3_pipeline, tmp_path / "copy")
    spoil(copy)
    with pytest.raises(ExportError, match=message):
        find_checkpoint(str(copy))


def test_its_transformer_names_the_checkpoint(tiny_sd3_pipeline: Path) -> None:
    whole = find_checkpoint(str(tiny_sd3_pipeline))
    assert find_checkpoint(str(tiny_sd3_pipeline / "transformer")).digest == whole.digest


def test_the_index_of_a_pipeline_that_draws_otherwise_is_refused(tiny_sd3_pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_sd3_pipeline, tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusion3ControlNetPipeline"}))
    with pytest.raises(ExportError, match="is of a StableDiffusion3ControlNetPipeline, which memscan cannot export"):
        find_checkpoint(str(copy))


def test_a_baseline_without_t5_is_refused_but_a_transformer_alone_is_one(
    tiny_sd3_pipeline: Path, tiny_sd3_without_t5: Path, tmp_path: Path
) -> None:
    model = find_checkpoint(str(tiny_sd3_pipeline))
    with pytest.raises(ExportError, match=r"text encoders text_encoder, text_encoder_2, but .* text_encoder_3: n"):
        check_baseline(model, find_checkpoint(str(tiny_sd3_without_t5)))
    early = tmp_path / "early"
    shutil.copytree(tiny_sd3_pipeline / "transformer", early / "transformer")
    file = early / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    assert check_baseline(model, find_baseline(str(early), model)) == []
