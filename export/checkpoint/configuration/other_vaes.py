"""The configurations of other classes of image autoencoders, `vae/config.json`, with Stable Diffusion's latents.

`AutoencoderTiny` (TAESD) is a small imitation, `AsymmetricAutoencoderKL` has a larger decoder. Of both the class writes
`block_out_channels` into the configuration, the decoder's, by which a pipeline reckons the size of images.
"""

from memscan.export.checkpoint.configuration.keys import Keys

_NEVER_READ = frozenset(
    {
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
        "block_out_channels",
        "force_upcast",  # the autoencoder computes in float32
        "sample_size",  # the size of a tile, of tiled decoding alone
    }
)
_SAME = {"in_channels": (3,), "out_channels": (3,), "quantization_config": (None,)}

TINY_VAE = Keys(
    understood={
        "act_fn": "relu",
        "decoder_block_out_channels": (64, 64, 64, 64),
        "encoder_block_out_channels": (64, 64, 64, 64),
        "latent_channels": 4,
        "num_decoder_blocks": (3, 3, 3, 1),
        "num_encoder_blocks": (1, 3, 3, 3),
        "scaling_factor": 1.0,
        "upsample_fn": "nearest",
    },
    harmless=_NEVER_READ | {"latent_magnitude", "latent_shift"},  # of rounding latents to bytes
    only={
        **_SAME,
        "_class_name": ("AutoencoderTiny",),
        "shift_factor": (0.0, None),
        "upsampling_scaling_factor": (2,),
    },
)

ASYMMETRIC_VAE = Keys(
    understood={
        "act_fn": "silu",
        "down_block_out_channels": (64,),
        "down_block_types": ("DownEncoderBlock2D",),
        "latent_channels": 4,
        "layers_per_down_block": 1,
        "layers_per_up_block": 1,
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
        "up_block_out_channels": (64,),
        "up_block_types": ("UpDecoderBlock2D",),
    },
    harmless=_NEVER_READ,
    only={**_SAME, "_class_name": ("AsymmetricAutoencoderKL",)},
)
