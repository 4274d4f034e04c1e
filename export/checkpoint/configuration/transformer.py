"""The configuration of a denoiser that is a transformer, `transformer/config.json`, by its class."""

import inspect
from typing import Any

from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

from memscan.export.checkpoint.configuration.keys import Keys

_HARMLESS = frozenset(
    {
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
        # Of an averaging over training steps, left by diffusers' EMAModel:
        *("decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"),
    }
)


def _keys(cls: type, **only: tuple[Any, ...]) -> Keys:
    """The arguments of a class with their defaults; what it is built with is what it honours."""
    arguments = inspect.signature(cls).parameters.items()
    return Keys(
        understood={name: argument.default for name, argument in arguments if name not in only},
        harmless=_HARMLESS,
        only={"_class_name": (cls.__name__,), "quantization_config": (None,), **only},
    )


TRANSFORMERS = {
    "FluxTransformer2DModel": _keys(FluxTransformer2DModel, patch_size=(1,)),
    "SD3Transformer2DModel": _keys(SD3Transformer2DModel, qk_norm=(None, "rms_norm")),
}
