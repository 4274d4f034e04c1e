"""The text encoders of models with joint attention: states one after another, and a pooled encoding."""

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from memscan.scanner import graph_names


class JointTextEncoders(nn.Module):
    """input_ids, input_ids_2 [N, S] and input_ids_3 [N, S3], int64 -> encoder_hidden_states and text_embeds, as Stable
    Diffusion 3 has them.

    The hidden states before the last layer of both CLIP encoders stand side by side, [N, S, D1 + D2]. T5's are wider,
    [N, S3, D3]: the former are filled up with zeros, and T5's follow in further positions, [N, S + S3, D3]. Without
    T5, those of CLIP are all. The pooled encoding, [N, P1 + P2], joins CLIP's projected pooled states. With `clip_skip`
    CLIP's states are those so many layers earlier; see `TextEncoder`.
    """

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(
        self,
        first: CLIPTextModelWithProjection,
        second: CLIPTextModelWithProjection,
        third: T5EncoderModel | None = None,
        *,
        clip_skip: int = 0,
    ) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.third = third
        self.clip_skip = clip_skip
        if clip_skip:
            self.outputs = (*self.outputs, graph_names.uncond("encoder_hidden_states"))

    def forward(self, input_ids: Tensor, input_ids_2: Tensor, input_ids_3: Tensor | None = None) -> tuple[Tensor, ...]:
        first = self.first(input_ids, output_hidden_states=True)
        second = self.second(input_ids_2, output_hidden_states=True)
        pooled = torch.cat([first.text_embeds, second.text_embeds], dim=-1)
        further = None if self.third is None else self.third(input_ids_3, return_dict=False)[0]

        def states(skipped: int) -> Tensor:
            of_clip = torch.cat([each.hidden_states[-(skipped + 2)] for each in (first, second)], dim=-1)
            if further is None:
                return of_clip
            filled = nn.functional.pad(of_clip, (0, further.shape[-1] - of_clip.shape[-1]))
            return torch.cat([filled, further], dim=1)

        encodings = states(self.clip_skip), pooled
        return (*encodings, states(0)) if self.clip_skip else encodings


class PooledAndJointTextEncoders(nn.Module):
    """input_ids [N, S] and input_ids_2 [N, S2], int64 -> encoder_hidden_states [N, S2, D2] and text_embeds [N, P1], as
    FLUX.1 has them: T5's states, and CLIP's pooled state, which is not projected. There is no layer to skip."""

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(self, first: CLIPTextModel, second: T5EncoderModel, *, clip_skip: int = 0) -> None:
        super().__init__()
        assert not clip_skip
        self.first = first
        self.second = second

    def forward(self, input_ids: Tensor, input_ids_2: Tensor) -> tuple[Tensor, ...]:
        return self.second(input_ids_2, return_dict=False)[0], self.first(input_ids).pooler_output
