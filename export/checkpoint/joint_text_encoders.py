"""The text encoders of models with joint attention: states one after another, and a pooled encoding."""

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel


class JointTextEncoders(nn.Module):
    """input_ids, input_ids_2 [N, S] and input_ids_3 [N, S3], int64 -> encoder_hidden_states and text_embeds, as Stable
    Diffusion 3 has them.

    The hidden states before the last layer of both CLIP encoders stand side by side, [N, S, D1 + D2]. T5's are wider,
    [N, S3, D3]: the former are filled up with zeros, and T5's follow in further positions, [N, S + S3, D3]. Without
    T5, those of CLIP are all. The pooled encoding, [N, P1 + P2], joins CLIP's projected pooled states.
    """

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(
        self,
        first: CLIPTextModelWithProjection,
        second: CLIPTextModelWithProjection,
        third: T5EncoderModel | None = None,
    ) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.third = third

    def forward(self, input_ids: Tensor, input_ids_2: Tensor, input_ids_3: Tensor | None = None) -> tuple[Tensor, ...]:
        first = self.first(input_ids, output_hidden_states=True)
        second = self.second(input_ids_2, output_hidden_states=True)
        pooled = torch.cat([first.text_embeds, second.text_embeds], dim=-1)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        if self.third is None:
            return states, pooled
        further = self.third(input_ids_3, return_dict=False)[0]
        filled = nn.functional.pad(states, (0, further.shape[-1] - states.shape[-1]))
        return torch.cat([filled, further], dim=1), pooled


class PooledAndJointTextEncoders(nn.Module):
    """input_ids [N, S] and input_ids_2 [N, S2], int64 -> encoder_hidden_states [N, S2, D2] and text_embeds [N, P1], as
    FLUX.1 has them: T5's states, and CLIP's pooled state, which is not projected."""

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(self, first: CLIPTextModel, second: T5EncoderModel) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, input_ids: Tensor, input_ids_2: Tensor) -> tuple[Tensor, ...]:
        return self.second(input_ids_2, return_dict=False)[0], self.first(input_ids).pooler_output
