"""The configuration of a CLIP text encoder, `text_encoder/config.json` and `text_encoder_2/config.json`.

Configurations written by transformers before version 5 also hold the arguments of text generation.
"""

from memscan.export.checkpoint.configuration.keys import Keys

_GENERATION = frozenset(
    (
        *("bad_words_ids", "begin_suppress_tokens", "decoder_start_token_id", "diversity_penalty", "do_sample"),
        *("early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty"),
        *("forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "min_length"),
        *("no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores"),
        *("prefix", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id"),
        *("suppress_tokens", "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder"),
        *("tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "typical_p"),
    )
)

TEXT_ENCODER = Keys(
    understood={
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "hidden_act": "quick_gelu",
        "hidden_size": 512,
        "intermediate_size": 2048,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 77,
        "num_attention_heads": 8,
        "num_hidden_layers": 12,
        "projection_dim": 512,
        "vocab_size": 49408,
    },
    harmless=_GENERATION
    | {
        "_attn_implementation",  # the same function by another kernel
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "architectures",  # read as the class of the part
        "attention_dropout",  # of training
        "attn_implementation",
        "chunk_size_feed_forward",
        "dropout",  # of training
        "dtype",  # of the file: computation is in float32, asked for explicitly
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",  # the tokenizer's is taken, as diffusers does
        "problem_type",
        "return_dict",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "use_bfloat16",
        "use_return_dict",
    },
    only={
        "add_cross_attention": (False,),
        "cross_attention_hidden_size": (None,),
        "is_decoder": (False,),
        "is_encoder_decoder": (False,),
        "model_type": ("clip_text_model",),
        "pruned_heads": ({}, None),
        "quantization_config": (None,),
        "use_attention_mask": (False, None),
    },
)
