"""The configuration of an image autoencoder, `vae/config.json`.

How its latents are scaled differs between families: see `memscan.export.checkpoint.latent_scale`.
"""

from memscan.export.checkpoint.configuration.keys import Keys

VAE = Keys(
    understood={
        "act_fn": "silu",
        "block_out_channels": (64,),
        "down_block_types": ("DownEncoderBlock2D",),
        "latent_channels": 4,
        "latents_mean": None,
        "latents_std": None,
        "layers_per_block": 1,
        "mid_block_add_attention": True,
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
        "shift_factor": None,
        "up_block_types": ("UpDecoderBlock2D",),
        "use_post_quant_conv": True,
        "use_quant_conv": True,
    },
    harmless=frozenset(
        {
            "_diffusers_version",
            "_name_or_path",
            "_use_default_values",
            "force_upcast",  # the autoencoder computes in float32
            "sample_size",  # the size of a tile, of tiled decoding alone
        }
    ),
    only={
        "_class_name": ("AutoencoderKL",),
        "in_channels": (3,),
        "out_channels": (3,),
        "quantization_config": (None,),
    },
)
