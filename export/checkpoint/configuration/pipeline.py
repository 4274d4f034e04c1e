"""The list of a pipeline's parts, `model_index.json`."""

from memscan.export.checkpoint.configuration.keys import Keys

PIPELINE = Keys(
    understood=dict.fromkeys(
        (
            *("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
            *("transformer", "text_encoder_3", "tokenizer_3"),
            "force_zeros_for_empty_prompt",
        )
    ),
    harmless=frozenset(
        {
            "_class_name",  # checked by the family
            "_diffusers_version",
            "_name_or_path",
            "add_watermarker",  # the mark is put on finished pictures
            "feature_extractor",  # of the safety checker
            "image_encoder",  # of image prompts; a denoiser that takes them is refused
            "requires_aesthetics_score",  # of refiners, which have one text encoder
            "requires_safety_checker",
            "safety_checker",  # blackens finished pictures
        }
    ),
    only={"is_cosxl_edit": (False, None)},
)
