"""How a feed may write an id or a number: the same in a catalogue's tables and in a request.

Which cells there are is left to `training.catalogues.cells` and `service.api.product_reader`.
"""

from __future__ import annotations


def id_text(number: float) -> str:
    """A whole number as the text of an id, so that 7 and 7.0 are one.

    Raises
    ------
    ValueError
        If it is true or false, or not whole.
    """
    if isinstance(number, bool) or number % 1 != 0:
        raise ValueError("no whole number")
    return str(int(number))


def plain_number(text: str) -> float:
    """The number that a text is, such as 1299.90; it may be infinite or NaN.

    Raises
    ------
    ValueError
        If the text is anything else, also "1.299,90" or "1_000".
    """
    if "_" in text:
        raise ValueError("an underscore is no part of a number")
    return float(text)
