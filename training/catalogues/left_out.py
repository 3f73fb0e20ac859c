"""What of a catalogue is left out: warned of once, in a line with a count and an example, or refused with the remedy.

How it is shown is left to whoever shows warnings; the command line does in `training.cli`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from service.contracts import Product
from service.errors import CatalogueError, UnreadableImage
from service.features.image import decode_image
from training.catalogues.cells import BASE64, URL

REMEDIES = {
    URL: "holds URLs; download them and give paths",
    BASE64: "holds base64; decode it to bytes or files",
}
UNMATCHED_AT_MOST = 0.5  # of a label table's rows, unless most products have one all the same


class LeftOut(UserWarning):
    """Something in a catalogue that cannot be used, and is passed over."""


def check_images(where: str, column: str, missing: Sequence[tuple[str, str]], *, n_images: int) -> None:
    """Warn of images that cannot be read; refuse a column that holds something else in place of all of them.

    Parameters
    ----------
    missing : product id and reason
    n_images : products whose cell is not empty

    Raises
    ------
    CatalogueError
        If there is no image at all, and the cells hold URLs or base64.
    """
    foreign = next((reason for _, reason in missing if reason in REMEDIES), None)
    if foreign and len(missing) == n_images:
        raise CatalogueError(
            f"{where}: none of {n_images} images can be read; the column {column!r} {REMEDIES[foreign]}"
        )
    if missing:
        _warn(f"{where}: {_count(len(missing), n_images, 'images')} cannot be read", *missing[0])


def warn_undecodable(where: str, products: Sequence[Product], have_image: Sequence[bool], *, size: int) -> None:
    """Warn of images that are there and cannot be decoded.

    Parameters
    ----------
    have_image : (n_products,), whose image has been decoded
    size : pixels a side to which they were
    """
    images = [(product, have) for product, have in zip(products, have_image, strict=True) if product.image is not None]
    undecodable = [product for product, have in images if not have]
    if undecodable:
        what = f"{where}: {_count(len(undecodable), len(images), 'images')} cannot be decoded"
        _warn(what, undecodable[0].product_id, _fault(undecodable[0].image or b"", size))


def check_matched(table: Path, ids: Sequence[str], unmatched: Sequence[str], *, n_products: int) -> None:
    """Warn of label rows whose id is no product of the part; refuse a table most of which is lost so.

    A table that most products have a row in may hold the rows of other parts, too.

    Parameters
    ----------
    ids, unmatched : of all rows, and of those without a product
    n_products : of the part

    Raises
    ------
    CatalogueError
        If more than half of the rows have no product, and more than half of the products no row.
    """
    if not unmatched or not n_products:
        return
    n_matched = len(ids) - len(unmatched)
    what = f"{table.name}: {_count(len(unmatched), len(ids), 'rows')}"
    if len(unmatched) > UNMATCHED_AT_MOST * len(ids) and n_matched < UNMATCHED_AT_MOST * n_products:
        raise CatalogueError(
            f"{what}, more than half, have an id that is no product of this part, such as {unmatched[0]!r}; "
            "check the ids of both tables, leading zeros among them"
        )
    _warn(f"{what} are passed over", unmatched[0], "no product of this part has this id")


def _warn(what: str, example_id: str, reason: str) -> None:
    warnings.warn(f"{what}, such as that of {example_id!r}: {reason}", LeftOut, stacklevel=1)  # once for each text


def _count(n_some: int, n_all: int, of: str) -> str:
    return f"{n_some:,} of {n_all:,} {of} ({n_some / n_all:.1%})"


def _fault(content: bytes, size: int) -> str:
    try:
        decode_image(content, size)
    except UnreadableImage as error:
        return str(error)
    return "it could not be decoded"
