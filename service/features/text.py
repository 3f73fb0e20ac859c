"""Text as ids: words in order for the sequence members, a weighted bag of words and their parts for the linear one.

A known word is one id; a word never seen in training falls back to its character n-grams (after fastText, Bojanowski et
al. 2017, arXiv:1607.04606). Which words are known is decided in `training`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from pydantic import Field

from service.contracts import Frozen

PADDING, UNKNOWN, FIELD_BREAK = 0, 1, 2  # the first ids of the sequence vocabulary
MAX_CHARACTERS = 4_000  # of one text column; what comes later is not read
WORD_CACHE_SIZE = 100_000

# A run of letters, digits and combining marks; a character of a script written without spaces stands alone.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


class TextEncoding(Frozen):
    """The vocabularies of one bundle.

    Ids of `bag` start at 1 (0 is padding); ids of `words` start at 3 (padding, unknown, field break).
    """

    words: dict[str, int] = Field(default_factory=dict)
    bag: dict[str, int] = Field(default_factory=dict)  # "word", "two words", "#gram"
    n_tokens: int = Field(default=48, ge=1, le=1024)


def words(text: str) -> list[str]:
    """Lower-case words of a text, compatibility forms (full width, ligatures) folded."""
    return _WORD.findall(unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).lower())


def grams(word: str) -> Iterator[str]:
    """Character 3- and 4-grams of a word between boundary marks, each behind a '#', as the bag names them."""
    bounded = f"<{word}>"
    for length in (3, 4):
        for start in range(len(bounded) - length + 1):
            yield "#" + bounded[start : start + length]


class TextEncoder:
    """Turns the text columns of a product into token ids and bag ids; keeps the ids of the words it has seen."""

    def __init__(self, encoding: TextEncoding) -> None:
        self._encoding = encoding
        self._parts: dict[str, tuple[int, ...]] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[list[int], list[int], list[float]]:
        """Token ids (at most n_tokens), bag ids, and bag values whose squares sum to at most 1."""
        token_ids: list[int] = []
        bag: dict[int, float] = {}
        for column_words in map(words, texts):
            if column_words:
                token_ids.extend((FIELD_BREAK, *(self._encoding.words.get(word, UNKNOWN) for word in column_words)))
                self._count(column_words, bag)
        norm = sum(value * value for value in bag.values()) ** 0.5 or 1.0
        return token_ids[: self._encoding.n_tokens], list(bag), [value / norm for value in bag.values()]

    def _count(self, column_words: list[str], bag: dict[int, float]) -> None:
        known = self._encoding.bag
        for word in column_words:
            parts = self._word_parts(word)
            for part in parts:
                bag[part] = 1.0
        for pair in itertools.pairwise(column_words):
            known_pair = known.get(" ".join(pair))
            if known_pair is not None:
                bag[known_pair] = 1.0

    def _word_parts(self, word: str) -> tuple[int, ...]:
        parts = self._parts.get(word)
        if parts is None:
            known = self._encoding.bag
            whole = known.get(word)
            names = grams(word) if whole is None else ()
            parts = (whole,) if whole is not None else tuple({known[name] for name in names if name in known})
            if len(self._parts) < WORD_CACHE_SIZE:
                self._parts[word] = parts
        return parts
