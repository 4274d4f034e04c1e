"""What memscan knows of a family of checkpoints: how one is recognised, its parts, and how its pipeline conditions."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memscan.export.checkpoint.components import PooledTextEncoder, TextEncoder, TwoTextEncoders
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.joint_text_encoders import JointTextEncoders, PooledAndJointTextEncoders
from memscan.scanner.bundle_parts import ChannelKind


@dataclasses.dataclass(frozen=True)
class Family:
    """One file describes each; see `families.FAMILIES`.

    Args:
        name: as code says it, "sd".
        title: as people say it.
        pipelines: the classes of `model_index.json` whose sampling is the plain one.
        recognises: whether a denoiser's configuration is of this family.
        parts: folder of each part that holds weights -> its class.
        text_encoders: the folders of text encoders, in the order in which their states are joined.
        tokenizers: the folder of each text encoder's tokenizer.
        join: makes one module of the text encoders.
        latent_size: rows and columns of latents where a configuration gives no `sample_size`.
        old_sizes: whether its pipeline knows that `sample_size` meant nothing before diffusers 0.9.
        steps_offset: what its pipeline takes whatever a scheduler's configuration says.
        zero_uncond: whether no prompt is encoded as zeros, where `model_index.json` does not say.
        told_size: whether its denoiser is told the size of the image.
        pipeline_sigmas: whether its pipeline itself spaces the steps of flow matching; see `read_flow_schedule`.
        latent_statistics: the statistics of a VAE that its pipeline knows; see `latent_scale`.
        patch: side of an image token in latent cells, where noise levels depend on the number of tokens.
        scored: whether it is told an aesthetic score, too.
        channels: what its denoiser takes behind the latents, if anything.
        layers_left_out: how many of a text encoder's last layers its pipeline never uses; None if memscan knows no clip
            skip of it.
        denoiser: the folder of its denoiser.
        build: `build(transformer, (C, h, w), (S, D))` makes of a transformer what is traced, for latents and text
            states of these shapes; None where the denoiser is a UNet.
        optional: the folders of text encoders that a checkpoint may lack, as its pipeline may.
        behind: the tokenizers whose text states follow behind those before, and how many tokens they have.
        packed: how many cells of latents its pipeline packs into the channels of one.
        pooled: the tokenizers whose encoder gives a pooled encoding and no text states.
        told_guidance: the usual scale of guidance of a family whose pipeline has no unconditional branch: members that
            are told one are told this, the others are not guided at all. None of all that are guided as usual.
        lacking: the folders of optional parts that this checkpoint does lack.
    """

    name: str
    title: str
    pipelines: tuple[str, ...]
    recognises: Callable[[Mapping[str, Any]], bool]
    parts: Mapping[str, type]
    text_encoders: tuple[str, ...]
    tokenizers: tuple[str, ...]
    join: Callable[
        ..., TextEncoder | PooledTextEncoder | TwoTextEncoders | JointTextEncoders | PooledAndJointTextEncoders
    ]
    latent_size: tuple[int, int]
    old_sizes: bool
    steps_offset: int | None
    zero_uncond: bool
    told_size: bool
    pipeline_sigmas: bool = False
    patch: int = 2
    latent_statistics: tuple[str, ...] = ()
    scored: bool = False
    channels: ChannelKind | None = None
    layers_left_out: int | None = None
    denoiser: str = "unet"
    build: Callable[[Any, tuple[int, int, int], tuple[int, int]], FlowDenoiser] | None = None
    optional: tuple[str, ...] = ()
    behind: Mapping[str, int] = dataclasses.field(default_factory=dict)
    packed: int = 1
    pooled: tuple[str, ...] = ()
    told_guidance: float | None = None
    lacking: tuple[str, ...] = ()

    @property
    def denoiser_title(self) -> str:
        """What people call its denoiser."""
        return "UNet" if self.build is None else "transformer"

    @property
    def remark(self) -> str:
        """What is to be said of what a checkpoint of this family does without, or ""."""
        lacking = [part for part in self.optional if part in self.lacking]
        if lacking:
            return f"without {' and '.join(lacking)}, as its pipeline runs it: zeros stand in"
        if self.told_guidance is not None:
            return (
                f"{self.title} has no unconditional branch: where no prompt is asked for, the empty prompt at the same"
                " guidance stands in"
            )
        return ""

    def without(self, encoders: Sequence[str]) -> "Family":
        """This family as it is without some of its optional text encoders and their tokenizers."""
        if not encoders:
            return self
        kept = [pair for pair in zip(self.text_encoders, self.tokenizers, strict=True) if pair[0] not in encoders]
        tokenizers = tuple(tokenizer for _, tokenizer in kept)
        return dataclasses.replace(
            self,
            parts={part: cls for part, cls in self.parts.items() if part not in encoders},
            text_encoders=tuple(encoder for encoder, _ in kept),
            tokenizers=tokenizers,
            lacking=(*encoders, *(each for each in self.tokenizers if each not in tokenizers)),
        )


def more_channels(unet: Mapping[str, Any]) -> int:
    """How many channels a denoiser of this configuration takes beyond those that it gives."""
    return int(unet.get("in_channels", 4)) - int(unet.get("out_channels", 4))
