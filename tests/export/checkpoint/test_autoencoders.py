"""VAEs of other classes: loaded, traced and scaled as in diffusers, as the checkpoint's own and by --vae."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AsymmetricAutoencoderKL, AutoencoderTiny
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import find_baseline, find_checkpoint
from memscan.export.checkpoint.components import Decoder, Encoder
from memscan.export.graphs.storage import save_graph
from memscan.export.graphs.trace import trace_component
from memscan.export.parity.oracle import Case
from memscan.export.parity.parity import compare
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import drop, edit
from tests.export.checkpoint.test_weights import assert_same_state

KINDS = ["tiny", "asymmetric"]
LIMIT = 1e-5


def save_vae(folder: Path, kind: str) -> Path:
    """One of four pixels a cell, as the tiny pipelines have, with a scale of its own."""
    torch.manual_seed(3)
    vae: AutoencoderTiny | AsymmetricAutoencoderKL
    if kind == "tiny":
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 2),
            num_decoder_blocks=(2, 1, 1),
            scaling_factor=0.9,
        )
    else:
        vae = AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            down_block_out_channels=(8, 8, 16),
            up_block_types=("UpDecoderBlock2D",) * 3,
            up_block_out_channels=(8, 16, 16),
            layers_per_up_block=2,
            norm_num_groups=4,
            scaling_factor=0.3,
        )
    vae.save_pretrained(folder)
    return folder


@pytest.fixture(params=KINDS)
def pipeline(request: pytest.FixtureRequest, copy: Path) -> Path:
    shutil.rmtree(copy / "vae")
    save_vae(copy / "vae", request.param)
    return copy


def test_it_is_loaded_as_diffusers_does(pipeline: Path) -> None:
    checkpoint = find_checkpoint(str(pipeline))
    loaded = checkpoint.load("vae")
    assert_same_state(loaded, type(loaded).from_pretrained(pipeline / "vae"))
    assert checkpoint.image_size() == (32, 32)
    drop(pipeline / "vae" / "config.json", "block_out_channels")  # as configurations are before a class was built
    assert find_checkpoint(str(pipeline)).image_size() == (32, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_the_place_of_a_checkpoints(tiny_pipeline: Path, tmp_path: Path, kind: str) -> None:
    vae = save_vae(tmp_path / "other", kind)
    loaded = find_checkpoint(str(tiny_pipeline), vae=vae).load("vae")
    assert_same_state(loaded, type(loaded).from_pretrained(vae))


def test_its_graphs_decode_and_encode_as_a_pipeline_does(pipeline: Path, tmp_path: Path) -> None:
    """The latents divided by the scale of its class, and multiplied with it."""
    vae = find_checkpoint(str(pipeline)).load("vae")
    own = type(vae).from_pretrained(pipeline / "vae")
    generator = torch.Generator().manual_seed(0)
    latents, image = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 3, 32, 32, generator=generator)
    scale = own.config.scaling_factor
    with torch.no_grad():
        decoded = own.decode(latents / scale, return_dict=False)[0]
        encoded = scale * retrieve_latents(own.encode(image), sample_mode="argmax")
    for module, name, given, output, expected in (
        (Decoder(vae), "latents", latents, "image", decoded),
        (Encoder(vae), "image", image, "latents", encoded),
    ):
        file = tmp_path / f"{output}.onnx"
        save_graph(trace_component(module, {name: given}), file, "float32")
        (row,) = compare(file, Case({name: given.numpy()}, {output: expected.numpy()}), LIMIT)
        assert row.passed, row


def test_a_baseline_may_have_a_vae_of_another_class(pipeline: Path, tiny_baseline: Path) -> None:
    model = find_checkpoint(str(pipeline))
    (remark,) = check_baseline(model, find_baseline(str(tiny_baseline), model))
    assert remark.startswith("tiny-sd1-early has another vae than copy: both are given the latents of copy")


def test_an_encoder_of_another_scale_than_the_decoder_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    save_vae(copy / "vae", "tiny")
    edit(copy / "vae" / "config.json", encoder_block_out_channels=[8, 8], num_encoder_blocks=[1, 1])
    with pytest.raises(
        ExportError, match=r"vae has 2 blocks in its encoder and 3 in its decoder: the image would have"
    ):
        find_checkpoint(str(copy))


@pytest.mark.parametrize(
    ("key", "value"), [("upsampling_scaling_factor", 4), ("shift_factor", 0.1), ("decoder_block_out_channels", 8)]
)
def test_what_a_tiny_one_cannot_be_is_refused(copy: Path, key: str, value: object) -> None:
    shutil.rmtree(copy / "vae")
    save_vae(copy / "vae", "tiny")
    edit(copy / "vae" / "config.json", **{key: value})
    with pytest.raises(ExportError, match=rf"config\.json has {key} {value}"):
        find_checkpoint(str(copy))
