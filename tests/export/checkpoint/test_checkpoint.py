"""What `find_checkpoint` accepts, and the one line it gives for everything else."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusers import DDIMScheduler

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.files import read_json
from memscan.scanner.errors import ExportError
from memscan.scanner.schedules import DdpmSchedule
from tests.export.checkpoint.spoil import edit
from tests.more_inputs import save_member

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_local_folder_is_found_under_its_name(tiny_pipeline: Path) -> None:
    checkpoint = find_checkpoint(str(tiny_pipeline))
    assert checkpoint.id == "tiny-sd1"
    assert checkpoint.revision is None
    assert checkpoint.prediction_type() == "epsilon"


def test_the_digest_changes_with_one_weight_byte_and_not_with_the_place(copy: Path, tiny_pipeline: Path) -> None:
    before = find_checkpoint(str(copy)).digest
    assert before == find_checkpoint(str(tiny_pipeline)).digest
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert find_checkpoint(str(copy)).digest != before


def test_a_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no folder .*nothing.*: give a diffusers folder, or a hub id"):
        find_checkpoint(str(tmp_path / "nothing" / "here" / "at all"))


def test_a_hub_id_must_be_pinned() -> None:
    with pytest.raises(ExportError, match=r"pin its revision by the 40 hex digits of a commit: someone/model@COMMIT"):
        find_checkpoint("someone/model")


def test_a_pinned_hub_id_is_fetched_at_its_commit_without_pickles(
    tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot_download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tiny_pipeline)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    checkpoint = find_checkpoint(f"someone/model@{COMMIT}")
    assert (checkpoint.id, checkpoint.revision) == ("someone/model", COMMIT)
    assert asked["revision"] == COMMIT
    assert not any(pattern.endswith((".bin", ".ckpt", "*")) for pattern in asked["patterns"])


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*args: object, **kwargs: object) -> str:
        raise ConnectionError("the hub is away\nsecond line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ExportError, match=f"^someone/model@{COMMIT} cannot be downloaded: the hub is away$"):
        find_checkpoint(f"someone/model@{COMMIT}")


def test_a_folder_without_a_unet_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is not a Stable Diffusion checkpoint: it has no folder unet/"):
        find_checkpoint(str(tmp_path))


def test_another_denoiser_class_is_named(copy: Path) -> None:
    edit(copy / "unet" / "config.json", _class_name="SD3Transformer2DModel")
    with pytest.raises(ExportError, match="holds a SD3Transformer2DModel; memscan exports checkpoints whose unet is a"):
        find_checkpoint(str(copy))


def test_pickle_only_weights_are_refused(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ExportError, match=r"only pickle weights \(diffusion_pytorch_model.bin\): .*safetensors"):
        find_checkpoint(str(copy))


def test_families_are_told_apart(tiny_pipeline: Path, tiny_xl_pipeline: Path) -> None:
    assert find_checkpoint(str(tiny_pipeline)).text_encoders == ("text_encoder",)
    assert find_checkpoint(str(tiny_xl_pipeline)).text_encoders == ("text_encoder", "text_encoder_2")


def test_a_second_text_encoder_that_the_denoiser_has_no_use_for_is_refused(copy: Path) -> None:
    shutil.copytree(copy / "text_encoder", copy / "text_encoder_2")
    with pytest.raises(
        ExportError,
        match=r"text_encoder, text_encoder_2, but its unet is one of Stable Diffusion 1\.x",
    ):
        find_checkpoint(str(copy))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lcm", "sd"),
        ("inpainting", "sd-inpainting"),
        ("depth", "sd-depth"),
        ("edit", "sd-editing"),
        ("projected", "sd"),
        ("xl-inpainting", "sdxl-inpainting"),
        ("refiner", "sdxl-refiner"),
    ],
)
def test_a_member_of_a_family_is_told_by_its_denoiser_and_text_encoders(name: str, family: str, tmp_path: Path) -> None:
    found = find_checkpoint(str(save_member(tmp_path / name, name)))
    assert found.family.name == family
    assert found.latent_shape() == (4, 8, 8)


def test_a_refiners_baseline_is_one_by_its_pipeline_where_it_has_no_text_encoder(tmp_path: Path) -> None:
    refiner = save_member(tmp_path / "refiner", "refiner")
    (refiner / "text_encoder_2").rename(refiner / "unused_text_encoder_2")
    assert find_checkpoint(str(refiner), parts=("unet",)).family.name == "sdxl-refiner"


def test_a_missing_second_text_encoder_is_refused(copy: Path) -> None:
    edit(copy / "unet" / "config.json", addition_embed_type="text_time")
    with pytest.raises(ExportError, match=r"has the text encoders text_encoder, but its unet is one of .* XL base"):
        find_checkpoint(str(copy))


@pytest.mark.parametrize(
    "option",
    [{"addition_embed_type": "text_image"}, {"class_embed_type": "projection"}, {"num_class_embeds": 1000}],
    ids=lambda option: next(iter(option)),
)
def test_other_conditioning_is_named(copy: Path, option: dict[str, object]) -> None:
    edit(copy / "unet" / "config.json", **option)
    ((name, value),) = option.items()
    with pytest.raises(ExportError, match=f"has {name} {value!r}, which memscan cannot export"):
        find_checkpoint(str(copy))


def test_no_prompt_is_zeros_for_sdxl_unless_the_pipeline_says_otherwise(
    tiny_pipeline: Path, tiny_xl_pipeline: Path, tmp_path: Path
) -> None:
    assert not find_checkpoint(str(tiny_pipeline)).zero_uncond()
    assert find_checkpoint(str(tiny_xl_pipeline)).zero_uncond()
    other = Path(shutil.copytree(tiny_xl_pipeline, tmp_path / "other"))
    edit(other / "model_index.json", force_zeros_for_empty_prompt=False)
    assert not find_checkpoint(str(other)).zero_uncond()


@pytest.mark.parametrize("channels", [3, 7, 12])
def test_channels_that_mean_nothing_to_memscan_are_named(copy: Path, channels: int) -> None:
    edit(copy / "unet" / "config.json", in_channels=channels)
    with pytest.raises(ExportError, match=rf"maps {channels} channels to 4: memscan exports those that map as many"):
        find_checkpoint(str(copy))


def test_a_pipeline_that_is_not_the_members_is_refused(tmp_path: Path) -> None:
    inpainting = save_member(tmp_path / "inpainting", "inpainting")
    edit(inpainting / "model_index.json", _class_name="StableDiffusionPipeline")
    with pytest.raises(ExportError, match=r"of a StableDiffusionPipeline.*; of .* for inpainting it exports"):
        find_checkpoint(str(inpainting))


def test_an_unknown_prediction_type_is_named(copy: Path) -> None:
    edit(copy / "scheduler" / "scheduler_config.json", prediction_type="sample")
    with pytest.raises(ExportError, match="has prediction_type 'sample', which memscan cannot export"):
        find_checkpoint(str(copy)).prediction_type()


def test_zero_terminal_snr_is_read_where_v_is_predicted(copy: Path) -> None:
    """To diffusers' table, whose last value is 0."""
    config = copy / "scheduler" / "scheduler_config.json"
    edit(config, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    schedule = find_checkpoint(str(copy)).schedule()
    assert isinstance(schedule, DdpmSchedule)
    expected = DDIMScheduler.from_config(read_json(config)).alphas_cumprod.double().tolist()
    assert list(schedule.alphas_cumprod) == expected
    assert expected[-1] == 0


def test_a_truncated_weight_file_is_one_line(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"unet/.*safetensors cannot be loaded: [^\n]+; download it again$"):
        find_checkpoint(str(copy)).load("unet")


def test_the_only_variant_of_the_weights_is_loaded(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(copy / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert find_checkpoint(str(copy)).load("unet").config.sample_size == 8


@pytest.mark.parametrize("below", ["model_index.json", "unet"])
def test_a_folder_may_be_named_by_what_lies_in_it(tiny_pipeline: Path, below: str) -> None:
    named = find_checkpoint(str(tiny_pipeline / below))
    whole = find_checkpoint(str(tiny_pipeline))
    assert (named.id, named.path, named.digest) == (whole.id, whole.path, whole.digest)


def cached(tiny_pipeline: Path, folder: Path, *commits: str) -> Path:
    """A repository in a hub's cache; its weights are links into blobs/."""
    cache = folder / "models--someone--model"
    for commit in commits:
        snapshot = Path(shutil.copytree(tiny_pipeline, cache / "snapshots" / commit))
        weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
        (cache / "blobs").mkdir(exist_ok=True)
        weights.rename(cache / "blobs" / commit)
        weights.symlink_to(cache / "blobs" / commit)
    return cache


def test_a_repository_in_a_cache_is_its_only_snapshot(tiny_pipeline: Path, tmp_path: Path) -> None:
    found = find_checkpoint(str(cached(tiny_pipeline, tmp_path, COMMIT)))
    assert (found.id, found.revision) == ("someone/model", COMMIT)
    assert found.digest == find_checkpoint(str(tiny_pipeline)).digest


def test_a_repository_in_a_cache_is_its_main_branch(tiny_pipeline: Path, tmp_path: Path) -> None:
    cache = cached(tiny_pipeline, tmp_path, COMMIT, "f" * 40)
    with pytest.raises(
        ExportError, match=rf"no snapshot of its main branch; give one of its snapshots/: {COMMIT}, f+$"
    ):
        find_checkpoint(str(cache))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("f" * 40)
    assert find_checkpoint(str(cache)).revision == "f" * 40


def test_a_broken_link_in_a_cache_is_an_unfinished_download(tiny_pipeline: Path, tmp_path: Path) -> None:
    cache = cached(tiny_pipeline, tmp_path, COMMIT)
    (cache / "blobs" / COMMIT).unlink()
    with pytest.raises(
        ExportError, match=r"unfinished download of .*unet/diffusion_pytorch_model\.safetensors: its link"
    ):
        find_checkpoint(str(cache))


def test_averaged_weights_beside_the_denoisers_are_said_to_be_left(copy: Path) -> None:
    shutil.copytree(copy / "unet", copy / "unet_ema")
    (remark,) = find_checkpoint(str(copy)).remarks
    assert remark == "copy: read from unet/, as a pipeline does, and not from unet_ema/, the average over its training"


@pytest.mark.parametrize(("asked", "branch"), [("someone/model", None), ("someone/model@v1.5/fp16", "v1.5/fp16")])
def test_an_unpinned_hub_id_is_resolved_to_its_commit_where_that_is_allowed(
    tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch, asked: str, branch: str | None
) -> None:
    def model_info(self: object, name: str, *, revision: str | None) -> SimpleNamespace:
        assert (name, revision) == ("someone/model", branch)
        return SimpleNamespace(sha=COMMIT)

    def snapshot_download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (name, revision) == ("someone/model", COMMIT)
        return str(tiny_pipeline)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    found = find_checkpoint(asked, allow_unpinned=True)
    assert (found.id, found.revision) == ("someone/model", COMMIT)
    assert found.remarks == (f"someone/model: commit {COMMIT}",)


def test_a_branch_that_the_hub_does_not_know_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def model_info(self: object, name: str, *, revision: str | None) -> SimpleNamespace:
        raise ValueError("no such branch\nsecond line")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    with pytest.raises(ExportError, match=r"^someone/model@nowhere cannot be found: no such branch$"):
        find_checkpoint("someone/model@nowhere", allow_unpinned=True)


@pytest.mark.parametrize("asked", ["someone/model", "someone/model@main", "someone/model@0123456"])
def test_a_hub_id_by_branch_or_a_short_commit_is_not_pinned(asked: str) -> None:
    with pytest.raises(ExportError, match=r"someone/model@COMMIT, or take what there is today by --allow-unpinned$"):
        find_checkpoint(asked)


def test_another_class_of_vae_is_named(copy: Path) -> None:
    edit(copy / "vae" / "config.json", _class_name="VQModel")
    with pytest.raises(
        ExportError, match=r"vae holds a VQModel; memscan exports checkpoints whose vae is a Autoencoder"
    ):
        find_checkpoint(str(copy))


def test_a_schedulers_configuration_may_be_called_config_json(copy: Path) -> None:
    plain = find_checkpoint(str(copy)).schedule()
    (copy / "scheduler" / "scheduler_config.json").rename(copy / "scheduler" / "config.json")
    assert find_checkpoint(str(copy)).schedule() == plain
