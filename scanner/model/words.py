"""Token ids of a prompt from those of its words: words recur where prompts do not, and splitting them is what is dear.

CLIP's tokenizers find the pieces that byte pair encoding spells within words alone: white space ends each, and belongs
to none. So a word's ids are the same wherever it stands. Of other tokenizers this is not known, and of no prompt with
other white space than blanks, or with characters that Unicode's normal form might join.
"""

from typing import Any

import tokenizers

_MOST_WORDS = 1 << 15
_LONGEST_WORD = 64

_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ],
}
_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Words:
    """Spells prompts word by word, remembering the words, so many at most.

    Args:
        tokenizer: one of which `spells_by_words` holds.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        mask = tokenizer.encode("a").special_tokens_mask
        ids, own = tokenizer.encode("a").ids, mask.index(0)
        self._before, self._after = ids[:own], ids[own + mask.count(0) :]
        self._known: dict[str, list[int]] = {}

    def spell(self, prompt: str) -> list[int] | None:
        """The ids, special tokens among them; None where the prompt is to be spelled as a whole."""
        if not (prompt.isascii() and prompt.isprintable()):
            return None
        ids, known = [*self._before], self._known
        for word in prompt.split():
            of_word = known.get(word)
            if of_word is None:
                if len(word) > _LONGEST_WORD:
                    return None
                if len(known) >= _MOST_WORDS:
                    known.clear()
                of_word = known[word] = self._tokenizer.encode(word, add_special_tokens=False).ids
            ids += of_word
        return ids + self._after


def spells_by_words(record: Any, tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether a tokenizer, and the JSON that it was read from, is CLIP's in all that says what belongs together."""
    try:
        split, bytes_of = record["pre_tokenizer"]["pretokenizers"]
        return (
            record["normalizer"] == _NORMALIZER
            and record["pre_tokenizer"]["type"] == "Sequence"
            and split == {"type": "Split", "pattern": {"Regex": _PIECES}, "behavior": "Removed", "invert": True}
            and (bytes_of["type"], bytes_of["add_prefix_space"]) == ("ByteLevel", False)
            and (record["model"]["type"], record["model"]["dropout"]) == ("BPE", None)
            and not any(map(_may_reach_beyond, record["added_tokens"]))
            and _frames(tokenizer)
        )
    except (KeyError, TypeError, ValueError):
        return False


def _may_reach_beyond(added: Any) -> bool:
    """Whether an added token takes white space in, or minds what stands beside it."""
    content = added["content"]
    return added["lstrip"] or added["rstrip"] or added["single_word"] or content.split() != [content]


def _frames(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether special tokens come before a text's own and after them, and nowhere else."""
    whole, own = tokenizer.encode("a b"), tokenizer.encode("a b", add_special_tokens=False).ids
    mask = whole.special_tokens_mask
    first = mask.index(0)
    return mask[first : first + len(own)] == [0] * len(own) == [0] * mask.count(0) and (
        whole.ids[first : first + len(own)] == own
    )
