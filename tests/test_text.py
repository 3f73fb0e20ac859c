"""Text as ids: the quick encoder says what a slow and obvious one says."""

from __future__ import annotations

import itertools
import math
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from service.features.text import (
    BREAK,
    FIELD_BREAK,
    MAX_CHARACTERS,
    UNKNOWN,
    TextEncoder,
    TextEncoding,
    grams,
    words,
    words_and_breaks,
)

NAMES = ("red", "shoe", "red shoe", "shoe red", "sale", "#<re", "#oes>", "#hoes", "été")
ENCODING = TextEncoding(
    words={"red": 3, "shoe": 4, "été": 5}, bag={name: 1 + index for index, name in enumerate(NAMES)}, n_tokens=9
)
texts = st.lists(
    st.lists(st.sampled_from(("red", "Shoe", "SHOES", "sale", "reds", "Été", "-", "ﬁne")), max_size=6).map(" ".join)
    | st.text(max_size=12),
    max_size=3,
)


def obvious(columns: list[str]) -> tuple[list[int], set[int]]:
    token_ids: list[int] = []
    bag: set[int] = set()
    for column_words in filter(None, map(words, columns)):
        token_ids += [FIELD_BREAK, *(ENCODING.words.get(word, UNKNOWN) for word in column_words)]
        names = [" ".join(pair) for pair in itertools.pairwise(column_words)]
        for word in column_words:
            names += [word] if word in ENCODING.bag else grams(word)
        bag |= {ENCODING.bag[name] for name in names if name in ENCODING.bag}
    return token_ids[: ENCODING.n_tokens], bag


@given(st.lists(texts, min_size=1, max_size=4))
def test_ids_are_those_of_the_words_their_parts_and_their_pairs(products: list[list[str]]) -> None:
    encoder = TextEncoder(ENCODING)  # one for all, so that words it has seen are met again

    for columns in products:
        token_ids, bag_ids, bag_values = encoder(columns)

        assert (token_ids, set(bag_ids)) == obvious(columns)
        assert len(bag_ids) == len(set(bag_ids)) == len(bag_values)
        assert math.isclose(sum(value * value for value in bag_values), 1.0) or not bag_values


@given(st.text(alphabet=st.characters(max_codepoint=0x24F), max_size=30))
def test_plain_characters_are_split_as_all_others(text: str) -> None:
    assert words(text) == words(unicodedata.normalize("NFKC", text))


@given(st.lists(st.text(max_size=20) | st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=30), max_size=5))
def test_many_texts_have_the_words_of_each(texts: list[str]) -> None:
    expected = [word for text in texts for word in (BREAK, *words(text))]

    assert words_and_breaks(texts) == expected


def test_of_many_texts_none_is_read_beyond_its_limit() -> None:
    long = "ab " * MAX_CHARACTERS

    assert words_and_breaks([long, "é" + long]) == [BREAK, *words(long), BREAK, *words("é" + long)]
