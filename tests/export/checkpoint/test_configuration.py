"""Every key of every configuration is understood, harmless, or refused by name; understood ones are as diffusers'."""

import inspect
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from transformers import AutoTokenizer, CLIPTextConfig

from memscan.export.checkpoint.autoencoders import AUTOENCODERS
from memscan.export.checkpoint.configuration.keys import Keys
from memscan.export.checkpoint.configuration.pipeline import PIPELINE
from memscan.export.checkpoint.configuration.scheduler import CLASSES
from memscan.export.checkpoint.configuration.scheduler import SCHEDULER as SCHEDULER_KEYS
from memscan.export.checkpoint.configuration.text_encoder import TEXT_ENCODER
from memscan.export.checkpoint.configuration.tokenizer import TOKENIZER
from memscan.export.checkpoint.configuration.unet import UNET
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import drop, edit
from tests.export.checkpoint.test_weights import find
from tests.tiny_pipeline import save_pipeline

SCHEDULER = "scheduler/scheduler_config.json"


def become(folder: Path, scheduler: str, **changes: object) -> None:
    edit(folder / SCHEDULER, _class_name=scheduler, **changes)
    edit(folder / "model_index.json", scheduler=["diffusers", scheduler])


@pytest.mark.parametrize(
    "file",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer_config.json",
        SCHEDULER,
        "model_index.json",
    ],
)
def test_an_unknown_key_is_refused_by_name(copy: Path, file: str) -> None:
    edit(copy / file, brand_new=0.5)
    with pytest.raises(ExportError, match=rf"{file} has brand_new 0.5, a key that memscan does not know"):
        find(copy)


def test_an_unknown_key_that_says_nothing_passes(copy: Path) -> None:
    edit(copy / "unet" / "config.json", brand_new=None)
    assert find(copy).remarks == ()


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("unet/config.json", "attention_type", "gated"),
        ("unet/config.json", "encoder_hid_dim_type", "ip_image_proj"),
        ("unet/config.json", "time_embedding_type", "fourier"),
        ("unet/config.json", "quantization_config", {"bits": 4}),
        ("vae/config.json", "out_channels", 4),
        ("text_encoder/config.json", "use_attention_mask", True),
        ("text_encoder/config.json", "model_type", "clip"),
        ("tokenizer/tokenizer_config.json", "padding_side", "left"),
        ("tokenizer/tokenizer_config.json", "auto_map", {"AutoTokenizer": ["x.T", None]}),
        (SCHEDULER, "thresholding", True),
        (SCHEDULER, "prediction_type", "sample"),
        (SCHEDULER, "prediction_type", "flow_prediction"),
        (SCHEDULER, "beta_schedule", "sigmoid"),
        (SCHEDULER, "beta_schedule", "laplace"),
        (SCHEDULER, "use_flow_sigmas", True),
        (SCHEDULER, "use_dynamic_shifting", True),
        (SCHEDULER, "variance_type", "learned_range"),
        (SCHEDULER, "timestep_type", "continuous"),
        ("model_index.json", "is_cosxl_edit", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_meaning_that_cannot_be_exported_is_refused_by_name(copy: Path, file: str, key: str, value: object) -> None:
    edit(copy / file, **{key: value})
    with pytest.raises(ExportError, match=rf"{file} has {key} .*, which memscan cannot export; it exports "):
        find(copy)


@pytest.mark.parametrize(
    "name",
    [
        "FlowMatchHeunDiscreteScheduler",
        "CMStochasticIterativeScheduler",
        "MyScheduler",
        None,
    ],
)
def test_a_scheduler_of_other_noise_is_refused_by_name(copy: Path, name: str | None) -> None:
    edit(copy / SCHEDULER, _class_name=name)
    with pytest.raises(ExportError, match=rf"scheduler is a {name}, which memscan cannot export; .*DDIMScheduler"):
        find(copy)


def test_the_scheduler_that_the_pipeline_builds_counts(copy: Path) -> None:
    edit(copy / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    with pytest.raises(ExportError, match=r"names a FlowMatchEulerDiscreteScheduler, but .* is of a PNDMScheduler"):
        find(copy)


@pytest.mark.parametrize("name", CLASSES)
def test_the_training_noise_is_that_of_the_class_whose_defaults_are_left_out(copy: Path, name: str) -> None:
    """LCM's, Heun's and a few others' betas are not DDIM's."""
    (copy / SCHEDULER).write_text("{}")
    become(copy, name)
    levels = np.array(find(copy).schedule().alphas_cumprod)
    np.testing.assert_array_equal(levels, getattr(diffusers, name)().alphas_cumprod.double().numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 100},
        {"trained_betas": [0.001 + 1e-5 * step for step in range(1000)]},
    ],
    ids=["cosine", "linear", "trained"],
)
def test_the_noise_schedule_is_that_of_diffusers(copy: Path, changes: dict[str, object]) -> None:
    edit(copy / SCHEDULER, **changes)
    scheduler = diffusers.PNDMScheduler.from_pretrained(copy / "scheduler")
    np.testing.assert_array_equal(find(copy).schedule().alphas_cumprod, scheduler.alphas_cumprod.double().numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_timesteps": 49}, "has num_train_timesteps 49, which memscan cannot export; it needs 50 or"),
        ({"num_train_timesteps": "1000"}, "has num_train_timesteps '1000'"),
        ({"num_train_timesteps": True}, "has num_train_timesteps True"),
        ({"trained_betas": [0.1, 0.2]}, "has 2 trained_betas for 1000 training timesteps"),
        ({"trained_betas": "many"}, r"gives no noise schedule: [^\n]+$"),
        ({"trained_betas": [0.001] * 999 + [float("nan")]}, "its noise does not grow"),
        ({"beta_start": -0.001, "beta_schedule": "linear"}, "its noise does not grow"),
        (
            {"beta_end": 1.0, "beta_schedule": "linear"},
            "has zero terminal SNR and predicts epsilon, which",
        ),
        (
            {"rescale_betas_zero_snr": True},
            "has zero terminal SNR and predicts epsilon, which",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_no_schedule_is_one_line(copy: Path, changes: dict[str, object], message: str) -> None:
    edit(copy / SCHEDULER, **changes)
    with pytest.raises(ExportError, match=message):
        find(copy)


@pytest.mark.parametrize(
    ("version", "size", "expected"),
    [
        ("0.8.1", 32, 64),
        ("0.9.0.dev0", 32, 32),
        ("0.9.0", 32, 32),
        ("0.42.1", 8, 8),
        ("0.2.2", 96, 96),
        ("0.2.2", [8, 16], [8, 16]),
    ],
)
def test_the_latent_size_is_that_of_diffusers_pipeline(
    copy: Path, version: str, size: object, expected: object
) -> None:
    edit(copy / "unet" / "config.json", _diffusers_version=version, sample_size=size)
    pipeline = StableDiffusionPipeline.from_pretrained(copy, safety_checker=None, requires_safety_checker=False)
    assert pipeline.unet.config.sample_size == expected
    height, width = expected if isinstance(expected, list) else (expected, expected)
    checkpoint = find(copy)
    assert checkpoint.latent_shape() == (4, height, width)
    assert checkpoint.image_size() == (height * 4, width * 4)
    assert len(checkpoint.remarks) == (size != expected)


@pytest.mark.parametrize("absent", [True, False])
def test_a_size_that_is_not_given_is_the_family_s_and_said(copy: Path, xl_copy: Path, absent: bool) -> None:
    for folder, size in ((copy, 64), (xl_copy, 128)):
        file = folder / "unet" / "config.json"
        edit(file, sample_size=None)
        if absent:
            drop(file, "sample_size")
        checkpoint = find(folder)
        assert checkpoint.latent_shape() == (4, size, size)
        assert f"no sample_size, so latents are {size} x {size}" in checkpoint.remarks[0]


@pytest.mark.parametrize("size", [0, -8, "8", 8.5, [8], [8, 8, 8], [8, "8"], True])
def test_what_is_no_size_is_refused(copy: Path, size: object) -> None:
    edit(copy / "unet" / "config.json", sample_size=size)
    with pytest.raises(ExportError, match=r"has sample_size .*: give the rows and columns"):
        find(copy)


def test_one_width_of_text_may_be_given_for_each_block(copy: Path) -> None:
    edit(copy / "unet" / "config.json", cross_attention_dim=[32, 32])
    assert find(copy).text_width() == 32


def test_blocks_that_attend_to_different_texts_are_refused(copy: Path) -> None:
    edit(copy / "unet" / "config.json", cross_attention_dim=[32, 16])
    with pytest.raises(ExportError, match=r"has cross_attention_dim \[32, 16\], blocks that attend to different texts"):
        find(copy)


def test_an_autoencoder_of_other_latents_is_refused(copy: Path) -> None:
    edit(copy / "vae" / "config.json", latent_channels=16)
    with pytest.raises(ExportError, match="unet denoises 4 channels, but the vae has 16"):
        find(copy)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "0.18"])
def test_a_scaling_factor_that_is_none_is_refused(copy: Path, scale: object) -> None:
    edit(copy / "vae" / "config.json", scaling_factor=scale)
    with pytest.raises(ExportError, match=r"has scaling_factor .*: it must be a positive number"):
        find(copy)


def test_tokens_that_were_added_have_rows_in_the_text_encoder(tmp_path: Path) -> None:
    pipeline = save_pipeline(tmp_path / "concept")
    tokenizer = AutoTokenizer.from_pretrained(pipeline / "tokenizer")
    tokenizer.add_tokens(["<cat-toy>"])
    tokenizer.save_pretrained(pipeline / "tokenizer")
    with pytest.raises(ExportError, match=r"tokens up to \d+, but its text encoder knows \d+: .* not belong together"):
        find(pipeline)
    encoder = StableDiffusionPipeline.from_pretrained(pipeline).text_encoder
    encoder.resize_token_embeddings(len(tokenizer) + 1)
    encoder.save_pretrained(pipeline / "text_encoder")
    assert find(pipeline).remarks == ()


def test_another_tokenizer_is_refused(copy: Path) -> None:
    edit(copy / "tokenizer" / "tokenizer_config.json", tokenizer_class="T5TokenizerFast")
    with pytest.raises(ExportError, match="tokenizer"):
        find(copy)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "is of a StableDiffusionControlNetPipeline, which"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, r"is of a \['pipeline', 'MyPipeline'\], which"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "has controlnet .*, a key that memscan does not know"),
        ({"unet": ["my_unet", "MyUNet"]}, r"has unet \['my_unet', 'MyUNet'\], but there is a folder unet/"),
        ({"vae": [None, None]}, r"has vae \[None, None\], but there is a folder vae/"),
    ],
    ids=["pipeline", "custom", "controlnet", "code", "null"],
)
def test_a_pipeline_that_conditions_otherwise_is_refused(copy: Path, entry: dict[str, object], message: str) -> None:
    edit(copy / "model_index.json", **entry)
    with pytest.raises(ExportError, match=message):
        find(copy)


def test_a_configuration_is_read_in_utf8_and_what_is_none_is_one_line(copy: Path) -> None:
    file = copy / "unet" / "config.json"
    record = {**json.loads(file.read_text()), "_name_or_path": "Bücher/猫"}
    file.write_bytes(json.dumps(record, ensure_ascii=False).encode())
    assert find(copy).remarks == ()
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ExportError, match=r"unet/config.json is not JSON: [^\n]+$"):
        find(copy)
    file.write_text("[" * 100_000)
    with pytest.raises(ExportError, match=r"unet/config.json is not JSON: [^\n]+$"):
        find(copy)


def test_what_transformers_before_5_and_diffusers_before_1_wrote_is_known(copy: Path) -> None:
    """The configurations of Stable Diffusion 1.4 as its authors saved them, in tiny; values as they were."""
    edit(
        copy / "text_encoder" / "config.json",
        _name_or_path="openai/clip-vit-large-patch14",
        dropout=0.0,
        torch_dtype="float32",
        transformers_version="4.21.0.dev0",
        add_cross_attention=False,
        bad_words_ids=None,
        pruned_heads={},
        top_k=50,
        use_bfloat16=False,
    )
    edit(copy / SCHEDULER, clip_sample=False, set_alpha_to_one=False, skip_prk_steps=True)
    edit(copy / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    edit(copy / "vae" / "config.json", sample_size=512, force_upcast=True, _name_or_path="x")
    assert find(copy).remarks == ()


def arguments(cls: type) -> dict[str, object]:
    """The arguments of a class and their defaults, all of which it writes into a configuration."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.name not in ("self", "kwargs")}


def known(keys: Keys) -> set[str]:
    return {*keys.understood, *keys.harmless, *keys.only}


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_of_every_scheduler_is_in_the_table(name: str) -> None:
    assert arguments(getattr(diffusers, name)).keys() <= known(SCHEDULER_KEYS)


def test_every_argument_of_the_parts_is_in_their_tables() -> None:
    assert arguments(diffusers.UNet2DConditionModel).keys() <= known(UNET)
    for kind in AUTOENCODERS.values():
        assert arguments(kind.cls).keys() <= known(kind.keys)
    assert CLIPTextConfig().to_dict().keys() <= known(TEXT_ENCODER)


def test_what_absent_keys_mean_is_what_the_classes_say() -> None:
    defaults = CLIPTextConfig().to_dict()
    vaes = [(kind.keys, arguments(kind.cls)) for kind in AUTOENCODERS.values()]
    for keys, meaning in (*vaes, (TEXT_ENCODER, defaults)):
        assert keys.understood == {key: meaning[key] for key in keys.understood}


def test_what_memscan_has_no_value_for_is_only_one_thing() -> None:
    """A key in two tables would be checked by the first alone; those of `understood` may have few allowed values."""
    vaes = (kind.keys for kind in AUTOENCODERS.values())
    for keys in (UNET, *vaes, TEXT_ENCODER, TOKENIZER, SCHEDULER_KEYS, PIPELINE):
        assert not keys.harmless & ({*keys.understood} | {*keys.only})


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("unet/config.json", "cross_attention_dim"),
        ("unet/config.json", "in_channels"),
        ("unet/config.json", "block_out_channels"),
        ("vae/config.json", "latent_channels"),
        ("vae/config.json", "block_out_channels"),
        ("text_encoder/config.json", "architectures"),
        ("text_encoder/config.json", "hidden_size"),
        ("text_encoder/config.json", "vocab_size"),
        ("text_encoder/config.json", "max_position_embeddings"),
        (SCHEDULER, "_class_name"),
        (SCHEDULER, "num_train_timesteps"),
        (SCHEDULER, "beta_start"),
        (SCHEDULER, "trained_betas"),
        ("model_index.json", "_class_name"),
        ("model_index.json", "unet"),
    ],
)
def test_a_value_of_a_wrong_type_is_one_line(copy: Path, file: str, key: str) -> None:
    values: list[object] = ["x", -1, [[1]], {"a": 1}, float("nan")]
    for value in values:
        edit(copy / file, **{key: value})
        with pytest.raises(ExportError, match=r"^[^\n]+$"):
            find(copy)
