"""The prompt without what its padding says: encodings at the positions behind its end are those of no prompt.

A text encoder of Stable Diffusion fills these positions with copies of the end token's embedding, by which memorized
prompts are recalled (Kim and No, arXiv 2605.02908). No attention is masked: the positions stay, and say nothing.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle_parts import Text
from memscan.scanner.model.text import Conditioning, Tokens

_STATES = "encoder_hidden_states"


def padding_of(tokens: Tokens, text: Text) -> NDArray[np.bool_]:
    """Which positions of text states lie behind the end of a prompt, for each of the text encoders that they are made
    by, [S]."""
    found = np.ones(text.length, np.bool_)
    for ids, rule in zip(tokens.ids, text.tokenizers, strict=True):
        if rule.position is None:
            continue
        ends = np.flatnonzero(ids == rule.eos_token_id)
        behind = np.arange(len(ids)) > (ends[0] if len(ends) else len(ids))
        found[rule.position : rule.position + rule.max_length] &= behind
    return found


def without_padding(prompt: Conditioning, none: Conditioning, padding: NDArray[np.bool_]) -> Conditioning:
    """The encodings of a prompt, with those of no prompt at the positions of `padding`. A pooled encoding stays."""
    states = np.where(padding[:, None], none[_STATES], prompt[_STATES])
    return {**prompt, _STATES: states}
