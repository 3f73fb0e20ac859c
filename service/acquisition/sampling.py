"""Draws that can be repeated and undone: fingerprints, keyed uniform numbers, and samples with known probabilities.

No state and no random source: a keyed hash of the product decides. Collecting traffic is left to
`service.acquisition.cohort`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

Float = NDArray[np.float64]

SALT_BYTES = 16
_PRODUCT = hashlib.blake2b(digest_size=16, person=b"winnow-product")


def fingerprint(record: Mapping[str, Any]) -> bytes:
    """16 bytes that two records share exactly if they say the same: key order and empty fields do not matter.

    Raises
    ------
    ValueError
        If a value cannot stand in JSON.
    """
    said = {name: value for name in _in_order(tuple(record)) if (value := record[name]) is not None}
    hashed = _PRODUCT.copy()
    hashed.update(to_json(said))
    return hashed.digest()


@lru_cache(maxsize=256)  # a shop sends the same few sets of columns again and again
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names))


def uniforms(fingerprints: Sequence[bytes], *, salt: bytes) -> Float:
    """Numbers in (0, 1] that look random, and are always the same for a product under a salt; (n_products,)."""
    keyed = hashlib.blake2b(digest_size=8, key=salt)
    digests = bytearray()
    for one in fingerprints:
        copy = keyed.copy()
        copy.update(one)
        digests += copy.digest()
    return ((np.frombuffer(digests, dtype="<u8") >> 11) + 1).astype(np.float64) * 2.0**-53


def inclusion_probabilities(weights: Float, n_drawn: int) -> Float:
    """Probabilities proportional to size for a sample of fixed size, capped at 1.

    Whatever a capped question cannot use goes to the others, again in proportion.

    Parameters
    ----------
    weights : (n_products, n_classes), positive

    Returns
    -------
    (n_products, n_classes), in (0, 1], each row adds up to `n_drawn`, or to n_classes if that is less.

    Source: Brewer & Hanif 1983, Sampling With Unequal Probabilities; Tillé 2006, section 2.10.
    """
    if n_drawn >= weights.shape[1]:
        return np.ones_like(weights)
    descending = -np.sort(-weights, axis=1)
    tails = np.cumsum(descending[:, ::-1], axis=1)[:, ::-1]
    left = n_drawn - np.arange(n_drawn + 1)  # to draw once the largest j are certain
    fits = left * descending[:, : n_drawn + 1] <= tails[:, : n_drawn + 1]
    n_certain = fits.argmax(axis=1)
    scale = (n_drawn - n_certain) / np.take_along_axis(tails, n_certain[:, None], axis=1)[:, 0]
    chances: Float = np.minimum(weights * scale[:, None], 1.0)
    return chances


def draw_questions(probabilities: Float, fingerprints: Sequence[bytes], *, salt: bytes) -> NDArray[np.bool_]:
    """Systematic sample of each row, its classes in an order drawn anew: each is in with exactly its probability.

    Parameters
    ----------
    probabilities : (n_products, n_classes), of `inclusion_probabilities`

    Returns
    -------
    (n_products, n_classes); every row has as many True as its probabilities add up to.

    Source: Madow 1949; the random order after Hartley & Rao 1962.
    """
    n_products, n_classes = probabilities.shape
    keys = _draws(fingerprints, salt=salt, n_each=n_classes + 1)
    starts = keys[:, :1] * 2.0**-32  # 32 bits: adding a whole number to it is exact
    order = np.argsort(keys[:, 1:], axis=1, kind="stable")
    steps = starts + np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    steps[:, -1] = starts[:, 0] + np.round(probabilities.sum(axis=1))
    floors = np.floor(np.concatenate([starts, steps], axis=1))
    drawn = np.zeros((n_products, n_classes), dtype=np.bool_)
    np.put_along_axis(drawn, order, np.diff(floors, axis=1) > 0.0, axis=1)
    return drawn


def _draws(fingerprints: Sequence[bytes], *, salt: bytes, n_each: int) -> NDArray[np.uint32]:
    """(n_products, n_each) whole numbers of 32 bits, keyed apart from those of `uniforms`."""
    streams = [hashlib.shake_128(b"questions" + salt + one).digest(4 * n_each) for one in fingerprints]
    return np.frombuffer(b"".join(streams), dtype="<u4").reshape(len(streams), n_each)
