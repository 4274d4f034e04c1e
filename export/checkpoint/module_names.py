"""The other names of a part's modules: those of the files in which a model is one, or an addition to one.

The original code of Stable Diffusion and of XL numbers the blocks of a denoiser through; with L = `layers_per_block`,
block i's layer j is `input_blocks.{(L + 1) i + j + 1}` on the way down and `output_blocks.{(L + 1) i + j}` up.
"""

from collections.abc import Iterable, Iterator

_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENDED = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def original_names(modules: Iterable[str], layers: int) -> dict[str, str]:
    """The original name of each module of a denoiser that has weights, by the name that diffusers gives it.

    Args:
        layers: `layers_per_block`.
    """
    modules = list(modules)
    attended = {name.partition(".attentions.")[0] for name in modules if ".attentions." in name}
    return {name: _original(name, layers, attended) for name in modules}


def adapter_names(part: str, modules: Iterable[str], layers: int) -> Iterator[tuple[str, str]]:
    """Every name that a file of adapters may have for a module of `part`, with the module.

    Args:
        part: "unet", "transformer" or a text encoder's folder.
        layers: the denoiser's `layers_per_block`.
    """
    modules = list(modules)
    if part == "unet":
        for module, original in original_names(modules, layers).items():
            yield f"lora_unet_{_flat(module)}", module
            yield f"lora_unet_{_flat(original)}", module
            # Before diffusers 0.22, of the classes that compute attention; before 0.15, without the part.
            processor = module.removesuffix(".0").replace(".to_", ".processor.to_") if ".to_" in module else module
            for name in {module, processor}:
                yield f"unet.{name}", module
                yield name, module
        return
    if part == "transformer":
        for module in modules:
            yield from ((name, module) for name in (f"transformer.{module}", module))
            yield from ((f"{prefix}{_flat(module)}", module) for prefix in ("lora_transformer_", "lora_unet_"))
        return
    short = ("lora_te_", "lora_te1_") if part == "text_encoder" else ("lora_te2_",)
    if any(module.startswith("encoder.block.") for module in modules):
        short = ("lora_te3_",)  # T5, whatever its folder
    for module in modules:
        bare = module.removeprefix("text_model.")
        head, _, leaf = bare.rpartition(".")
        for name in {bare, f"text_model.{bare}"}:
            yield from ((f"{prefix}{_flat(name)}", module) for prefix in short)
        for name in {bare, f"{head}.{_ATTENDED.get(leaf, leaf)}" if head else bare}:
            yield f"{part}.{name}", module
            yield f"{part}.text_model.{name}", module


def original_adapter_names(module: str) -> tuple[str, ...]:
    """Every name that a file of adapters may have for a transformer's module of the original code."""
    return f"lora_unet_{_flat(module)}", f"diffusion_model.{module}"


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _original(name: str, layers: int, attended: set[str]) -> str:
    """`attended` has the blocks with attention: what follows it in a block counts one more."""
    steps = name.split(".")
    if steps[0] == "mid_block":
        number = 1 if steps[1] == "attentions" else 2 * int(steps[2])
        return ".".join([f"middle_block.{number}", *_inner(steps[1], steps[3:])])
    if steps[0] not in ("down_blocks", "up_blocks"):
        return _OUTER.get(name, name)
    block, kind, layer = int(steps[1]), steps[2], int(steps[3])
    first = (layers + 1) * block
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        place = 2 if f"up_blocks.{block}" in attended else 1
        return f"output_blocks.{first + layers}.{place}.conv"
    numbered = f"input_blocks.{first + layer + 1}" if steps[0] == "down_blocks" else f"output_blocks.{first + layer}"
    return ".".join([numbered, "1" if kind == "attentions" else "0", *_inner(kind, steps[4:])])


def _inner(kind: str, steps: list[str]) -> list[str]:
    return [_RESNET.get(step, step) for step in steps] if kind == "resnets" else steps
