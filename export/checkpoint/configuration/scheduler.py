"""The configuration of a scheduler, `scheduler/scheduler_config.json`.

A scheduler's configuration says two things: the noise that the model was trained with, which memscan reads, and how
its pipeline samples, which memscan does not: it samples by its own `--sampler`.
"""

from typing import Any

from memscan.export.checkpoint.configuration.keys import Keys

TRAINING = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)
"""The keys of the noise that the model was trained with; an absent one means what the class says."""

_DDPM = dict(zip(TRAINING, (1000, 0.0001, 0.02, "linear", None, False, "epsilon"), strict=True))
_KARRAS = {**_DDPM, "beta_start": 0.00085, "beta_end": 0.012}
_CONSISTENCY = {**_KARRAS, "beta_schedule": "scaled_linear"}

CLASSES: dict[str, dict[str, Any]] = {
    "DDIMScheduler": _DDPM,
    "DDIMParallelScheduler": _DDPM,
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "DEISMultistepScheduler": _DDPM,
    "DPMSolverMultistepScheduler": _DDPM,
    "DPMSolverSinglestepScheduler": _DDPM,
    "EulerAncestralDiscreteScheduler": _DDPM,
    "EulerDiscreteScheduler": _DDPM,
    "HeunDiscreteScheduler": _KARRAS,
    "KDPM2AncestralDiscreteScheduler": _KARRAS,
    "KDPM2DiscreteScheduler": _KARRAS,
    "LCMScheduler": _CONSISTENCY,
    "LMSDiscreteScheduler": _DDPM,
    "PNDMScheduler": _DDPM,
    "TCDScheduler": _CONSISTENCY,
    "UniPCMultistepScheduler": _DDPM,
}
"""The classes that add noise as DDPM does: x_t = alpha_t x_0 + sigma_t noise, from a table of betas.

Written out, for diffusers has some of them only where scipy is installed.
"""

FLOW_CLASS = "FlowMatchEulerDiscreteScheduler"
"""The class of models that were trained by flow matching, x_t = (1 - s) x_0 + s noise."""

FLOW: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "time_shift_type": "exponential",
}
"""The keys of its levels; an absent one means this."""

EDM: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "sigma_schedule": "karras",
    "rho": 7.0,
    "prediction_type": "epsilon",
}
"""The keys of EDM's levels and of what its network predicts; an absent one means this."""

EDM_CLASSES = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")

MIN_TIMESTEPS = 50
"""A scan takes 50 steps unless it is told otherwise."""

SCHEDULER = Keys(
    understood=dict.fromkeys((*TRAINING, "set_alpha_to_one", "steps_offset", "timestep_spacing")),
    harmless=frozenset(
        {
            "_class_name",  # checked before the keys
            "_diffusers_version",
            "_name_or_path",
            "_use_default_values",
            "algorithm_type",
            "clip_sample",  # pipelines of Stable Diffusion switch it off
            "clip_sample_range",
            "disable_corrector",
            "dynamic_thresholding_ratio",  # of thresholding, which is refused
            "euler_at_final",
            "final_sigmas_type",
            "flow_shift",  # of use_flow_sigmas, which is refused
            "interpolation_type",
            "lambda_min_clipped",
            "lower_order_final",
            "original_inference_steps",
            "predict_x0",
            "sample_max_value",  # of thresholding
            "sigma_max",
            "sigma_min",
            "skip_prk_steps",
            "solver_order",
            "solver_p",
            "solver_type",
            "tensor_format",
            "time_shift_type",  # of use_dynamic_shifting, which is refused
            "timestep_scaling",
            "use_beta_sigmas",
            "use_exponential_sigmas",
            "use_karras_sigmas",
            "use_lu_lambdas",
        }
    ),
    only={
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
        "predict_epsilon": (True,),
        "prediction_type": ("epsilon", "v_prediction"),
        "shift_terminal": (None,),
        "thresholding": (False, None),
        "timestep_spacing": ("leading", "trailing", "linspace"),
        "timestep_type": ("discrete", None),
        "use_dynamic_shifting": (False, None),
        "use_flow_sigmas": (False, None),
        "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    },
)

EDM_SCHEDULER = Keys(
    understood=EDM,
    harmless=frozenset(
        {
            "_class_name",
            "_diffusers_version",
            "_name_or_path",
            "_use_default_values",
            "algorithm_type",
            "dynamic_thresholding_ratio",  # of thresholding, which is refused
            "euler_at_final",
            "final_sigmas_type",
            "lower_order_final",
            "sample_max_value",  # of thresholding
            "solver_order",
            "solver_type",
        }
    ),
    only={
        "prediction_type": ("epsilon", "v_prediction"),
        "sigma_schedule": ("karras", "exponential"),
        "thresholding": (False, None),
    },
)

FLOW_SCHEDULER = Keys(
    understood=FLOW,
    harmless=frozenset({"_class_name", "_diffusers_version", "_name_or_path", "_use_default_values"}),
    only={
        "invert_sigmas": (False, None),
        "shift_terminal": (None,),
        "stochastic_sampling": (False, None),
        "time_shift_type": ("exponential", "linear"),
        "use_beta_sigmas": (False, None),
        "use_exponential_sigmas": (False, None),
        "use_karras_sigmas": (False, None),
    },
)
