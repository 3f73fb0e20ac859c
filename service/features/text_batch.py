"""Text as ids, many products at once: the same ids as `service.features.text` gives, at a fraction of its price.

A word that was seen before is one look-up; everything after that is arithmetic on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from service.features.ragged import Ids, Ragged, numbers_of, ranges
from service.features.text import BREAK, FIELD_BREAK, TextEncoding, WordLookup, words_and_breaks

ROOM = 10_000_000  # of what is kept of words seen, in bytes and roughly; then it begins anew
WORD_BYTES = 200  # beside its characters and ids
NONE = -1


class _Slots(dict[str, int]):
    """A number for each word, and arrays that say what is known of the word with that number."""

    def __init__(self, lookup: WordLookup, firsts: dict[str, int], seconds: dict[str, int]) -> None:
        self._lookup, self._firsts, self._seconds = lookup, firsts, seconds
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all words."""
        self.clear()
        self.room = ROOM
        self.token_ids, self.n_bag, self.first, self.second, self.bag_starts = np.zeros((5, 1024), dtype=np.int64)
        self.bag = np.zeros(4096, dtype=np.int64)
        self._n_bag = 0
        self._put(BREAK, FIELD_BREAK, (), NONE, NONE)

    def __missing__(self, word: str) -> int:
        """Look a word up that comes for the first time."""
        token_id, bag_ids = self._lookup(word)
        return self._put(word, token_id, bag_ids, self._firsts.get(word, NONE), self._seconds.get(word, NONE))

    def _put(self, word: str, token_id: int, bag_ids: Sequence[int], first: int, second: int) -> int:
        slot = len(self)
        if slot == len(self.token_ids):
            self.token_ids, self.n_bag, self.first, self.second, self.bag_starts = (
                np.concatenate([values, np.zeros_like(values)])
                for values in (self.token_ids, self.n_bag, self.first, self.second, self.bag_starts)
            )
        end = self._n_bag + len(bag_ids)
        if end > len(self.bag):
            self.bag = np.concatenate([self.bag, np.zeros(max(len(self.bag), end), dtype=np.int64)])
        self.token_ids[slot], self.n_bag[slot], self.bag_starts[slot] = token_id, len(bag_ids), self._n_bag
        self.first[slot], self.second[slot] = first, second
        self.bag[self._n_bag : end] = bag_ids
        self._n_bag = end
        self.room -= WORD_BYTES + 4 * len(word) + 8 * len(bag_ids)
        self[word] = slot
        return slot


class TextBatchEncoder:
    """Turns the text columns of products into token ids and bag ids. Not for several threads."""

    def __init__(self, encoding: TextEncoding) -> None:
        self._n_tokens = encoding.n_tokens
        self._n_bag = max(encoding.bag.values(), default=0) + 1
        pairs = [(*name.partition(" "), bag_id) for name, bag_id in encoding.bag.items() if " " in name]
        firsts = {word: index for index, word in enumerate(dict.fromkeys(first for first, *_ in pairs))}
        seconds = {word: index for index, word in enumerate(dict.fromkeys(second for _, _, second, _ in pairs))}
        self._n_seconds = len(seconds)
        keys = np.asarray([firsts[one] * len(seconds) + seconds[two] for one, _, two, _ in pairs], dtype=np.int64)
        order = keys.argsort()
        self._pair_keys = keys[order]
        self._pair_ids = np.asarray([bag_id for *_, bag_id in pairs], dtype=np.int64)[order]
        self._slots = _Slots(WordLookup(encoding), firsts, seconds)

    def __call__(self, texts: Sequence[Sequence[str]]) -> tuple[Ragged, Ragged]:
        """Token ids and distinct bag ids of products, which have equally many texts each, "" where one is missing."""
        n_products = len(texts)
        words = words_and_breaks(list(chain.from_iterable(texts)))
        if self._slots.room < 0:
            self._slots.begin_anew()
        slots = numbers_of(map(self._slots.__getitem__, words), len(words))
        is_break = slots == 0
        n_columns = max(1, len(texts[0])) if texts else 1
        row_of = (is_break.cumsum() - 1) // n_columns
        return self._tokens(slots, is_break, row_of, n_products), self._bag(slots, row_of, n_products)

    def _tokens(self, slots: Ids, is_break: Ids, row_of: Ids, n_products: int) -> Ragged:
        kept = ~is_break
        kept[:-1] |= kept[1:]  # a break is a token where a word comes after it
        lengths = np.bincount(row_of[kept], minlength=n_products)
        whole = Ragged(self._slots.token_ids[slots[kept]], np.concatenate([[0], lengths.cumsum()]))
        short = np.minimum(lengths, self._n_tokens)
        if int(lengths.max(initial=0)) <= self._n_tokens:
            return whole
        return Ragged(whole.values[ranges(whole.starts[:-1], short)], np.concatenate([[0], short.cumsum()]))

    def _bag(self, slots: Ids, row_of: Ids, n_products: int) -> Ragged:
        known = self._slots
        counts = known.n_bag[slots]
        ids = known.bag[ranges(known.bag_starts[slots], counts)]
        pair_ids, pair_rows = self._pairs(slots, row_of)
        rows = np.concatenate([np.repeat(row_of, counts), pair_rows])
        return Ragged.distinct(np.concatenate([ids, pair_ids]), rows, n_products, self._n_bag)

    def _pairs(self, slots: Ids, row_of: Ids) -> tuple[Ids, Ids]:
        first, second = self._slots.first[slots[:-1]], self._slots.second[slots[1:]]
        (places,) = np.nonzero((first >= 0) & (second >= 0))
        if not len(places):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        keys = first[places] * self._n_seconds + second[places]
        found = self._pair_keys.searchsorted(keys)
        found[found == len(self._pair_keys)] = 0
        hits = self._pair_keys[found] == keys
        return self._pair_ids[found[hits]], row_of[places[hits]]
