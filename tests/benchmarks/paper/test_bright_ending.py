"""Which tokens are looked at, and a processor that watches attention without changing it."""

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from benchmarks.paper.bright_ending import CHOICES, LAYERS, PUBLISHED, Choice, attention_map, token_weights
from benchmarks.paper.observed_attention import Attended, Observed

START, END = 90, 91
IDS = torch.tensor([[START, 5, 6, END, END, END], [START, 7, END, END, END, END]])


def test_tokens_are_found_where_they_are() -> None:
    assert token_weights(IDS, "start").argmax(1).tolist() == [0, 0]
    assert token_weights(IDS, "end").argmax(1).tolist() == [3, 2]
    assert token_weights(IDS, "last").argmax(1).tolist() == [5, 5]
    torch.testing.assert_close(
        token_weights(IDS, "words"), torch.tensor([[0, 0.5, 0.5, 0, 0, 0], [0, 1, 0, 0, 0, 0.0]])
    )


def test_a_map_is_the_mean_of_its_layers_at_its_token() -> None:
    maps = {name: torch.rand(2, 4, 4, 6) for names in LAYERS.values() for name in names}
    found = Attended(201, maps, IDS)
    up = [maps[name][..., 5] for name in LAYERS["up 8x8"]]
    torch.testing.assert_close(attention_map(found, Choice("up 8x8", "last", 201)), (up[0] + up[1]) / 2)
    dark = attention_map(found, Choice("up 8x8", "last", 201, bright=False))
    torch.testing.assert_close(dark, 1 - (up[0] + up[1]) / 2)


def test_the_published_choice_is_among_the_choices() -> None:
    assert PUBLISHED in CHOICES
    assert len(set(CHOICES)) == len(CHOICES)


def test_observing_changes_nothing_and_keeps_what_was_attended() -> None:
    torch.manual_seed(0)
    attention = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4, processor=AttnProcessor())
    hidden, text = torch.randn(3, 16, 8), torch.randn(3, 5, 6)
    expected = attention(hidden, encoder_hidden_states=text)
    observed = Observed()
    attention.set_processor(observed)
    torch.testing.assert_close(attention(hidden, encoder_hidden_states=text), expected, rtol=0, atol=0)
    query, key = (
        projection(of).unflatten(-1, (2, 4)).transpose(1, 2)
        for projection, of in ((attention.to_q, hidden), (attention.to_k, text))
    )
    weights = (query @ key.transpose(-1, -2) / 2).softmax(-1)  # 2 = sqrt(dim_head)
    torch.testing.assert_close(observed.probabilities, weights, rtol=1e-5, atol=1e-6)
