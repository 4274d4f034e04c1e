"""The configurations of T5's encoder and of its tokenizer, `text_encoder_3/config.json` and
`tokenizer_3/tokenizer_config.json` of Stable Diffusion 3."""

from memscan.export.checkpoint.configuration.keys import Keys
from memscan.export.checkpoint.configuration.text_encoder import TEXT_ENCODER
from memscan.export.checkpoint.configuration.tokenizer import TOKENIZER

T5_ENCODER = Keys(
    understood={
        "d_ff": 2048,
        "d_kv": 64,
        "d_model": 512,
        "eos_token_id": 1,
        "feed_forward_proj": "relu",
        "layer_norm_epsilon": 1e-6,
        "num_heads": 8,
        "num_layers": 6,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "vocab_size": 32128,
    },
    harmless=(TEXT_ENCODER.harmless - {"model_type"})
    | {
        "bos_token_id",  # of the decoder, as are those of generation
        "classifier_dropout",
        "dense_act_fn",  # said by feed_forward_proj
        "dropout_rate",  # of training
        "is_gated_act",  # said by feed_forward_proj
        "n_positions",
        "num_decoder_layers",
        "output_past",
        "scale_decoder_outputs",
        "use_cache",
    },
    only={
        "add_cross_attention": (False,),
        "is_decoder": (False,),
        "is_encoder_decoder": (True, False),  # of the whole model; its encoder alone is built
        "model_type": ("t5",),
        "pruned_heads": ({}, None),
        "quantization_config": (None,),
    },
)

T5_TOKENIZER = Keys(
    understood={
        **TOKENIZER.understood,
        **dict.fromkeys(("extra_ids", "legacy", "sp_model_kwargs", "vocab_file", "add_prefix_space")),
    },
    harmless=TOKENIZER.harmless,
    only=TOKENIZER.only,
)

T5_CLASSES = ("T5Tokenizer", "T5TokenizerFast")
