"""The configuration of a CLIP tokenizer, `tokenizer/tokenizer_config.json` and `tokenizer_2/tokenizer_config.json`."""

from memscan.export.checkpoint.configuration.keys import Keys

TOKENIZER = Keys(
    # The tokenizer is built by transformers and compared whole: no meaning of an absent key is needed.
    understood=dict.fromkeys(
        (
            *("add_prefix_space", "added_tokens_decoder", "additional_special_tokens", "bos_token", "do_lower_case"),
            *("eos_token", "errors", "extra_special_tokens", "model_max_length", "pad_token", "special_tokens"),
            *("tokenizer_class", "unk_token"),
        )
    ),
    harmless=frozenset(
        {
            "__type",
            "_commit_hash",
            "add_bos_token",  # CLIP's tokenizer always adds both
            "add_eos_token",
            "backend",
            "chat_template",  # of conversations
            "clean_up_tokenization_spaces",  # of decoding
            "cls_token",  # CLIP has none
            "device_map",
            "from_slow",
            "is_local",
            "local_files_only",
            "mask_token",
            "max_length",  # the pipelines give the length themselves
            "model_input_names",
            "name_or_path",
            "pad_to_multiple_of",
            "pad_token_type_id",
            "processor_class",
            "return_token_type_ids",
            "revision",
            "sep_token",
            "special_tokens_map_file",
            "split_special_tokens",
            "stride",
            "subfolder",
            "token_type_ids",
            "tokenizer_file",
            "truncation",
            "truncation_strategy",
            "trust_remote_code",
            "use_fast",
            "verbose",
        }
    ),
    only={
        "auto_map": (None,),
        "padding_side": ("right",),
        "truncation_side": ("right",),
    },
)

CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")
