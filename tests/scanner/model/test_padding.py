"""What counts as padding, and what a prompt's encodings are without what it says."""

import numpy as np
import pytest

from memscan.scanner.bundle_parts import Text, Tokenization
from memscan.scanner.model.padding import padding_of, without_padding
from memscan.scanner.model.text import Tokens

END, START = 9, 8


def tokens(*ids: list[int]) -> Tokens:
    return Tokens(tuple(np.array(each) for each in ids), truncated=False)


def text(*pads: int) -> Text:
    return Text(tuple(Tokenization(f"{index}.json", 6, pad, END, START) for index, pad in enumerate(pads)))


@pytest.mark.parametrize(
    ("ids", "pad", "behind"),
    [
        ([START, 1, END, END, END, END], END, 3),  # as Stable Diffusion 1 pads
        ([START, 1, END, 0, 0, 0], 0, 3),  # as 2 does, with "!", which may be a word, too:
        ([START, 0, 0, END, 0, 0], 0, 2),
        ([START, END, END, END, END, END], END, 4),  # of no words at all
        ([START, 1, 2, 3, 4, END], END, 0),  # a prompt that was cut, or just fits
        ([START, 1, 2, 3, 4, 5], END, 0),  # no end at all: nothing is known to be behind it
    ],
)
def test_padding_is_what_lies_behind_the_first_end(ids: list[int], pad: int, behind: int) -> None:
    found = padding_of(tokens(ids), text(pad))
    assert found.tolist() == [False] * (6 - behind) + [True] * behind


def test_of_two_text_encoders_padding_is_where_both_have_it() -> None:
    found = padding_of(tokens([START, 1, END, END, END, END], [START, 1, 1, END, 0, 0]), text(END, 0))
    assert found.tolist() == [False] * 4 + [True] * 2


def test_only_positions_of_padding_are_those_of_no_prompt_and_a_pooled_encoding_stays() -> None:
    prompt = {"encoder_hidden_states": np.ones((3, 2), np.float32), "text_embeds": np.full(4, 5, np.float32)}
    none = {"encoder_hidden_states": np.full((3, 2), 7, np.float32), "text_embeds": np.zeros(4, np.float32)}
    found = without_padding(prompt, none, np.array([False, False, True]))
    np.testing.assert_array_equal(found["encoder_hidden_states"], np.float32([[1, 1], [1, 1], [7, 7]]), strict=True)
    assert found["text_embeds"] is prompt["text_embeds"]
    assert prompt["encoder_hidden_states"].max() == 1
