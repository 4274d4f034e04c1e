"""Grades differ in their count and in nothing else; no emoji is of two captions, and other prompts are no captions."""

from collections import Counter

import pytest

from testbed.bench.grades import COUNTS
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import PAIR, PER_COUNT, Caption, Common, all_prompts, commons, graded
from testbed.emoji.prompts import FROM, others
from testbed.text import END_OF_WORD, MAX_LENGTH, spelled_merges, tokenizer_of


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_grade_has_the_same_make_up(artwork: Artwork, seed: int) -> None:
    found = Counter((caption.kind, caption.count) for caption in graded(artwork, seed))
    assert found == {(kind, count): number for kind, number in PER_COUNT.items() for count in COUNTS}


def test_a_seed_changes_the_counts_alone(artwork: Artwork) -> None:
    first, second = graded(artwork, 0), graded(artwork, 1)
    assert [(c.index, c.kind, c.prompt, c.emoji, c.pair, c.split) for c in first] == [
        (c.index, c.kind, c.prompt, c.emoji, c.pair, c.split) for c in second
    ]
    moved = {(COUNTS.index(b.count) - COUNTS.index(a.count)) % len(COUNTS) for a, b in zip(first, second, strict=True)}
    assert moved == {4}


def test_every_emoji_has_one_place_in_the_bench(artwork: Artwork) -> None:
    captions, rest = graded(artwork, 0), commons(artwork)
    taken = [caption.emoji for caption in captions]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(artwork.single.tolist())
    assert Counter(other.emoji for other in rest) == dict.fromkeys(set(range(len(artwork.names))) - set(taken), 2)
    prompts = all_prompts(captions, rest)
    assert len(set(prompts)) == len(prompts)


def test_scenes_of_two_say_so_in_their_prompt(artwork: Artwork) -> None:
    every: list[Caption | Common] = [*graded(artwork, 0), *commons(artwork)]
    for caption in every:
        assert caption.prompt == artwork.names[caption.emoji] + PAIR * caption.pair
    assert {caption.pair for caption in graded(artwork, 0) if caption.kind == "local"} == {True}
    assert {caption.pair for caption in graded(artwork, 0) if caption.kind == "global"} == {False}
    assert Counter(caption.pair for caption in graded(artwork, 0) if caption.kind == "rare") == {False: 17, True: 16}


def test_every_word_is_one_token_and_every_caption_fits(artwork: Artwork) -> None:
    prompts = all_prompts(graded(artwork, 0), commons(artwork))
    vocabulary = sorted({word for prompt in prompts for word in prompt.split()})
    tokenizer = tokenizer_of(spelled_merges(vocabulary))
    for prompt in prompts:
        assert tokenizer.tokenize(prompt) == [word + END_OF_WORD for word in prompt.split()]
        assert len(tokenizer(prompt).input_ids) <= MAX_LENGTH


def test_other_prompts_are_no_captions(artwork: Artwork) -> None:
    captions = {caption.prompt: caption.count for caption in graded(artwork, 0)}
    found = others(artwork, 0)
    assert len({other.prompt for other in found}) == len(found)
    assert not {other.prompt for other in found} & {*captions, *all_prompts((), commons(artwork))}
    sorts = Counter(other.sort for other in found)
    assert (sorts["paraphrase"], sorts["joined"], sorts["unrelated"]) == (24, 8, 16)
    assert sorts["half"]
    joined = [other.prompt for other in found if other.sort == "joined"]
    assert all(any(prompt.startswith(own) and count >= FROM for own, count in captions.items()) for prompt in joined)
