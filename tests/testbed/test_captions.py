"""The captions keep what the README promises: enough of each kind, told apart by the text encoder, split fairly."""

import pytest

from testbed.captions import CAPTIONS, DROPOUT, SEEDS, SHARES, Kind, frequencies, of_kind, split_of
from testbed.text import MAX_LENGTH, build_tokenizer, token_ids


def test_prompts_are_unique() -> None:
    prompts = [caption.prompt for caption in CAPTIONS]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("kind", ["global", "local", "none"])
def test_kind_has_calibration_and_heldout_captions(kind: Kind) -> None:
    splits = [split_of(caption) for caption in of_kind(kind)]
    assert len(splits) >= 12
    assert splits.count("heldout") >= 8
    assert splits.count("calibration") >= 4
    assert len(set(SEEDS)) >= 4


def test_memorized_captions_are_rare_and_never_dropped() -> None:
    memorized = [f for caption, f in zip(CAPTIONS, frequencies(), strict=True) if caption.kind != "none"]
    assert max(memorized) < 0.016
    assert sum(memorized) == pytest.approx(0.31)
    assert DROPOUT["global"] == DROPOUT["local"] == 0
    assert sum(SHARES.values()) == pytest.approx(1)
    assert sum(frequencies()) == pytest.approx(1)


def test_memorized_captions_are_five_times_rarer_in_the_first_quarter() -> None:
    early, late = frequencies(0.25), frequencies(0.26)
    assert sum(early) == pytest.approx(1)
    for caption, before, after in zip(CAPTIONS, early, late, strict=True):
        if caption.kind != "none":
            assert before == pytest.approx(after / 5)


def test_every_prompt_keeps_its_end_token_and_its_own_ids() -> None:
    tokenizer = build_tokenizer()
    ids = token_ids(tokenizer, [caption.prompt for caption in CAPTIONS])
    assert ids.shape == (len(CAPTIONS), MAX_LENGTH)
    assert (ids[:, -1] == tokenizer.eos_token_id).all()  # the last place is padding: nothing was cut off
    assert len(ids.unique(dim=0)) == len(CAPTIONS)


def test_tokenizer_is_the_same_every_time() -> None:
    prompts = [caption.prompt for caption in CAPTIONS]
    assert token_ids(build_tokenizer(), prompts).equal(token_ids(build_tokenizer(), prompts))
