"""Text as ids: words in order for the sequence members, a weighted bag of words and their parts for the linear one.

A known word is one id; a word never seen in training falls back to its character n-grams (after fastText, Bojanowski et
al. 2017, arXiv:1607.04606). Which words are known is decided in `training`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import Field

from service.contracts import Frozen

PADDING, UNKNOWN, FIELD_BREAK = 0, 1, 2  # the first ids of the sequence vocabulary
MAX_CHARACTERS = 4_000  # of one text column; what comes later is not read
WORD_CACHE_SIZE = 100_000

# A run of letters, digits and combining marks; a character of a script written without spaces stands alone.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
BREAK = "\0"  # marks where a text begins among the words of many; no word holds it
# Of ASCII, words are the runs of letters and digits: a table and `split` find them five times as fast as an expression.
_PLAIN = bytes(code if chr(code).isalnum() and code < 128 else ord(" ") for code in range(256)).lower()
_PLAIN_OR_BREAK = _PLAIN.replace(b" ", BREAK.encode(), 1)  # the first entry is that of NUL


class TextEncoding(Frozen):
    """The vocabularies of one bundle.

    Ids of `bag` start at 1 (0 is padding); ids of `words` start at 3 (padding, unknown, field break).
    """

    words: dict[str, int] = Field(default_factory=dict)
    bag: dict[str, int] = Field(default_factory=dict)  # "word", "two words", "#gram"
    n_tokens: int = Field(default=48, ge=1, le=1024)


def words(text: str) -> list[str]:
    """Lower-case words of a text, compatibility forms (full width, ligatures) folded."""
    return _WORD.findall(_folded(text[:MAX_CHARACTERS]))


def words_and_breaks(texts: Sequence[str]) -> list[str]:
    """The words of all texts, with a `BREAK` before those of each."""
    heads = [text[:MAX_CHARACTERS] for text in texts]
    joined = f" {BREAK} ".join(["", *heads])
    if joined.isascii() and joined.count(BREAK) == len(texts):  # so it is nearly always, and one search costs least
        return joined.encode().translate(_PLAIN_OR_BREAK).decode().split()
    found: list[str] = []
    for head in heads:
        found.append(BREAK)
        found += head.encode().translate(_PLAIN).decode().split() if head.isascii() else _WORD.findall(_folded(head))
    return found


def _folded(text: str) -> str:
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def grams(word: str) -> Iterator[str]:
    """Character 3- and 4-grams of a word between boundary marks, each behind a '#', as the bag names them."""
    bounded = f"<{word}>"
    for length in (3, 4):
        for start in range(len(bounded) - length + 1):
            yield "#" + bounded[start : start + length]


class WordLookup:
    """What the vocabularies know of a word."""

    def __init__(self, encoding: TextEncoding) -> None:
        self._words, self._bag = encoding.words, encoding.bag

    def __call__(self, word: str) -> tuple[int, tuple[int, ...]]:
        """Its token id, and its own bag id or those of its n-grams."""
        whole = self._bag.get(word)
        known = self._bag
        bag_ids = (whole,) if whole is not None else tuple({known[name] for name in grams(word) if name in known})
        return self._words.get(word, UNKNOWN), bag_ids


class _Word(NamedTuple):
    """What is known of one word."""

    token_id: int
    bag_ids: tuple[int, ...]  # its own, or those of its n-grams
    pair_ids: Mapping[str, int]  # by the word that follows


class TextEncoder:
    """Turns the text columns of a product into token ids and bag ids; keeps what it knows of the words it has seen."""

    def __init__(self, encoding: TextEncoding) -> None:
        self._encoding = encoding
        self._look = WordLookup(encoding)
        self._seen: dict[str, _Word] = {}
        self._pairs: dict[str, dict[str, int]] = {}
        for name, bag_id in encoding.bag.items():
            first, space, second = name.partition(" ")
            if space:
                self._pairs.setdefault(first, {})[second] = bag_id

    def __call__(self, texts: Sequence[str]) -> tuple[list[int], list[int], list[float]]:
        """Token ids (at most n_tokens), bag ids, and bag values whose squares sum to at most 1."""
        token_ids: list[int] = []
        bag: list[int] = []
        for text in texts:
            column_words = words(text) if text else ()
            if column_words:
                self._add(column_words, token_ids, bag)
        bag_ids = list(dict.fromkeys(bag))
        value = 1.0 / (len(bag_ids) ** 0.5 or 1.0)
        return token_ids[: self._encoding.n_tokens], bag_ids, [value] * len(bag_ids)

    def _add(self, column_words: Sequence[str], token_ids: list[int], bag: list[int]) -> None:
        seen = self._seen
        pair_ids: Mapping[str, int] = {}  # of the word before
        pairs: list[int] = []
        token_ids.append(FIELD_BREAK)
        for word in column_words:
            known = seen.get(word) or self._look_up(word)
            token_ids.append(known.token_id)
            bag += known.bag_ids
            if word in pair_ids:
                pairs.append(pair_ids[word])
            pair_ids = known.pair_ids
        bag += pairs

    def _look_up(self, word: str) -> _Word:
        known = _Word(*self._look(word), self._pairs.get(word, {}))
        if len(self._seen) < WORD_CACHE_SIZE:
            self._seen[word] = known
        return known
