"""The configuration of a denoiser, `unet/config.json`."""

import inspect
from typing import Any

from diffusers import UNet2DConditionModel

from memscan.export.checkpoint.configuration.keys import Keys

_ONLY: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DConditionModel",),
    "attention_type": ("default",),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None, "text_proj"),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "quantization_config": (None,),
    "time_embedding_type": ("positional",),
}
_HARMLESS = frozenset(
    {
        "_diffusers_version",  # tells the meaning of sample_size, where that is read
        "_name_or_path",
        "_use_default_values",
        "addition_embed_type_num_heads",  # of embeddings that are refused
        "class_embeddings_concat",  # likewise
        "dropout",  # of training
        "upcast_attention",  # attention computes in float32
        # Of an averaging over training steps, left by diffusers' EMAModel:
        *("decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"),
    }
)


def _arguments() -> dict[str, Any]:
    """The arguments of the class with their defaults; what it is built with is what it honours."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(UNet2DConditionModel.__init__).parameters.items()
        if name != "self" and name not in _HARMLESS
    }


UNET = Keys(understood=_arguments(), harmless=_HARMLESS, only=_ONLY)
