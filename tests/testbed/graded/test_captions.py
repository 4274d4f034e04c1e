"""Grades differ in their count and in nothing else, and a seed moves captions along them."""

from collections import Counter

import pytest

from testbed.captions import CAPTIONS
from testbed.graded.captions import COUNTS, PER_COUNT, Graded, graded
from testbed.graded.prompts import UNRELATED, others
from testbed.text import END_OF_WORD, build_tokenizer

SEEDS = (0, 1, 2)


def of(seed: int, kind: str, count: int) -> list[Graded]:
    return [caption for caption in graded(seed) if (caption.kind, caption.count) == (kind, count)]


def test_counts_go_in_steps_of_two() -> None:
    assert COUNTS == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    assert PER_COUNT["global"] + PER_COUNT["local"] >= 12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", COUNTS)
def test_every_grade_has_the_same_make_up(seed: int, count: int) -> None:
    for kind, expected in PER_COUNT.items():
        assert len(of(seed, kind, count)) == expected
    local = of(seed, "local", count)
    assert len({caption.subject for caption in local}) == len(local)
    assert len({caption.style for caption in local}) == 5
    assert len({caption.subject for caption in of(seed, "global", count)}) == PER_COUNT["global"]
    assert Counter(caption.subject == "poster" for caption in of(seed, "rare", count)) == {True: 2, False: 2}
    assert Counter(caption.split for caption in local) == {"calibration": 2, "heldout": 4}


def test_a_seed_changes_the_counts_alone() -> None:
    first, second = graded(0), graded(1)
    without = [(c.index, c.kind, c.prompt, c.subject, c.style) for c in first]
    assert without == [(c.index, c.kind, c.prompt, c.subject, c.style) for c in second]
    moved = {(COUNTS.index(b.count) - COUNTS.index(a.count)) % len(COUNTS) for a, b in zip(first, second, strict=True)}
    assert moved == {4}


def test_prompts_are_distinct_and_words_that_the_tokenizer_knows_as_one_token() -> None:
    prompts = [caption.prompt for caption in graded(0)]
    assert len(set(prompts)) == len(prompts)
    tokenizer = build_tokenizer()
    for prompt in prompts:
        assert tokenizer.tokenize(prompt) == [word + END_OF_WORD for word in prompt.split()]


def test_no_pair_of_names_is_of_one_caption_of_the_testbed() -> None:
    known = [set(caption.prompt.split()) for caption in CAPTIONS]
    for caption in graded(0):
        assert not any(words >= set(caption.prompt.split()[:2]) for words in known), caption.prompt


@pytest.mark.parametrize("seed", SEEDS)
def test_other_prompts_are_no_captions_but_close_to_those_shown_often(seed: int) -> None:
    captions = {caption.prompt: caption.count for caption in graded(seed)} | {c.prompt: 0 for c in CAPTIONS}
    found = others(seed)
    assert len({other.prompt for other in found}) == len(found)
    sorts = Counter(other.sort for other in found)
    assert (sorts["paraphrase"], sorts["joined"], sorts["unrelated"]) == (18, 12, len(UNRELATED))
    assert 16 <= sorts["half"] <= 18  # two captions can have a half in common
    assert not {other.prompt for other in found} & set(captions)
    for other in found:
        if other.sort == "joined":
            assert min(captions[part] for part in other.prompt.split(" and ")) >= 256
