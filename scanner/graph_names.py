"""The files of a bundle and what its graphs call their inputs and outputs: spelled here, and read from here alone.

A graph's name is its file's name in the bundle. A graph of the less-trained checkpoint lies in a folder of its own, and
the variant of a graph with attention in slices, where there is one, lies beside it.
"""

from collections.abc import Iterable

RECORD = "bundle.json"
TEXT_ENCODER = "text_encoder.onnx"
STEP = "step.onnx"
MEASURE = "measure.onnx"
"""Of the exact derivative; `measure` names that of every kind."""
UNGUIDED = "unguided.onnx"
"""A step with the prompt alone, which a bundle may lack."""
OBSERVE = "observe.onnx"
CONDITION = "condition.onnx"
VAE_DECODER = "vae_decoder.onnx"
VAE_ENCODER = "vae_encoder.onnx"
WEIGHTS = "weights.bin"
BASELINE = "baseline"

LEVEL = ("timestep", "alpha", "sigma")
"""How every denoiser's graph is given a noise level, [N] each."""

GUIDANCE = "guidance"
"""The scale of guidance, [N], of a denoiser that is told it."""
AESTHETIC_SCORE = "aesthetic_score"
"""What a refiner is told of the image, [N]: of the prompt's another than of none's."""
CHANNELS = "channels"
"""What a denoiser takes behind the latents' channels, [N, X, h, w]: of a picture or a mask, and without tangents."""
SHARED = (*LEVEL, GUIDANCE, CHANNELS)
"""What the prompt and no prompt are denoised with alike: all inputs but the latents and the encodings."""

_GRAPH, _SLICED = ".onnx", ".sliced.onnx"
_UNCOND = "uncond_"


def measure(derivative: str) -> str:
    """The measuring graph of a kind of derivative: "measure.onnx", "measure.frozen.onnx", ..."""
    return MEASURE if derivative == "exact" else f"{MEASURE.removesuffix(_GRAPH)}.{derivative}{_GRAPH}"


def of_baseline(name: str) -> str:
    """The same file of the less-trained checkpoint."""
    return f"{BASELINE}/{name}"


def sliced(graph: str) -> str:
    """The variant of a graph with attention in slices."""
    return graph.removesuffix(_GRAPH) + _SLICED


def whole(graph: str) -> str:
    """The graph that this is, or is the sliced variant of."""
    return graph.removesuffix(_SLICED) + _GRAPH if graph.endswith(_SLICED) else graph


def is_graph(name: str) -> bool:
    """Whether a file is a graph, sliced or not."""
    return name.endswith(_GRAPH)


def needed(derivatives: Iterable[str], *, baseline: bool, own_text_encoder: bool) -> tuple[str, ...]:
    """The graphs without which there is no scan by these kinds of derivative, with a less-trained checkpoint and its
    own text encoder or without."""
    measuring = tuple(map(measure, derivatives))
    of_both = (measuring if baseline else ()) + ((TEXT_ENCODER,) if own_text_encoder else ())
    return (TEXT_ENCODER, STEP, *measuring, VAE_DECODER, VAE_ENCODER, *map(of_baseline, of_both))


def tokenizer(index: int) -> str:
    """The file of the tokenizer of the text encoder at `index`: "tokenizer.json", "tokenizer_2.json", ..."""
    return f"tokenizer{_ordinal(index)}.json"


def input_ids(index: int) -> str:
    """The input of the text encoders' graph for the ids of that tokenizer: "input_ids", "input_ids_2", ..."""
    return f"input_ids{_ordinal(index)}"


def uncond(name: str) -> str:
    """The input of a step for no prompt's encoding: "encoder_hidden_states" -> "uncond_encoder_hidden_states".

    A text encoder's output of this name is that encoding, where it is another than a prompt would have.
    """
    return f"{_UNCOND}{name}"


def is_uncond(name: str) -> bool:
    """Whether `uncond` made this name."""
    return name.startswith(_UNCOND)


def _ordinal(index: int) -> str:
    return f"_{index + 1}" if index else ""
