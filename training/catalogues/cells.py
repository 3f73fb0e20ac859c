"""Single cells of a table, checked and brought to the type that their column should hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.api.product_reader import MAX_TEXT_CHARACTERS
from service.errors import CatalogueError
from service.feed import id_text, plain_number

UNKNOWN = -1  # the label that nobody gave

URL = "the cell holds a URL, not a path"
BASE64 = "the cell holds base64, not a path"
_FOREIGN = (  # beginnings of what feeds hold in place of a path; base64 by the first bytes of JPEG, PNG and WebP
    (("http://", "https://", "//"), URL),
    (("data:", "/9j/", "iVBORw", "UklGR"), BASE64),
)

NOTHING = frozenset({type(None)})
TEXTS = NOTHING | {str}
NUMBERS = NOTHING | {int, float}

TEXT_HOLDS = "a text column holds text"
CATEGORICAL_HOLDS = "a categorical column holds text, or a list of texts"
IMAGE_HOLDS = "an image column holds the bytes of a JPEG, PNG or WebP file, or its path"

_LABELS: dict[object, int] = {
    None: UNKNOWN,
    "": UNKNOWN,
    1: 1,
    0: 0,
    "1": 1,
    "0": 0,
    "1.0": 1,
    "0.0": 0,
    "true": 1,
    "false": 0,
}


class Place(NamedTuple):
    """Where a cell stands; rows count from 1, the header of a CSV not included."""

    path: Path
    column: str
    row: int

    def error(self, problem: str) -> CatalogueError:
        """An error that names this place."""
        return CatalogueError(f"{self.path.name}, row {self.row}, column {self.column!r}: {problem}")


@dataclass(frozen=True, slots=True)
class MissingImage:
    """Stands for an image whose cell leads to no file."""

    reason: str


def id_cell(cell: object, place: Place) -> str:
    """An id as text, so that 7, 7.0 and "7" are one; never empty."""
    try:
        text = id_text(cell) if isinstance(cell, (int, float)) else cell
    except ValueError:
        text = None
    if not isinstance(text, str):
        raise place.error(f"the id is {_kind(cell)}; give every row an id")
    text = _repaired(text).strip()
    if not text:
        raise place.error("the id is empty; give every row an id")
    return text


def text_cell(cell: object, place: Place) -> str | None:
    """Text, as much of it as `/classify` takes, or None where missing; a number, true or false is written out."""
    text = _text(cell, place, TEXT_HOLDS)
    return text and text[:MAX_TEXT_CHARACTERS]


def category_cell(cell: object, place: Place) -> str | list[str] | None:
    """One text, a list of texts, or None where missing."""
    if isinstance(cell, list):
        return [text for part in cell if (text := _text(part, place, CATEGORICAL_HOLDS)) is not None]
    return _text(cell, place, CATEGORICAL_HOLDS)


def number_cell(cell: object, place: Place) -> float | None:
    """A finite number, true being 1 and false 0; None where missing, NaN or infinite."""
    if cell is None or cell == "":
        return None
    try:
        number = _number(cell)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        raise place.error(f"holds {_kind(cell)}; a numerical column holds plain numbers such as 1299.90") from None
    if not math.isfinite(number):
        return None
    return cell if type(cell) is int else number


def image_cell(directory: Path, cell: object, place: Place) -> bytes | MissingImage | None:
    """Bytes of an image, read from its file where the cell is a path relative to `directory`; None where missing."""
    if isinstance(cell, bytes):
        return cell or None
    path = _text(cell, place, IMAGE_HOLDS)
    if not path:
        return None
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor or ".." in PureWindowsPath(path).parts:
        if foreign := _foreign(path):
            return MissingImage(foreign)
        raise place.error("the path leads outside the catalogue; use one relative to the catalogue.toml, without '..'")
    return _image_file(directory, path, place)


def plain_column(cells: Sequence[object], *, kinds: frozenset[type]) -> bool:
    """Whether all cells are plainly right, so that none need be looked at alone, which costs ten times as much.

    Parameters
    ----------
    kinds : what `TEXTS`, `NUMBERS` or `NOTHING` allow; a whole column of a feed nearly always is so
    """
    found = set(map(type, cells))
    if not found <= kinds:
        return False
    if float in found or int in found:
        try:
            return all(cell is None or math.isfinite(cell) for cell in cells)  # type: ignore[arg-type]  # they are numbers
        except OverflowError:  # whole numbers have no end in JSON
            return False
    return str not in found or _are_plain(list(filter(None, cells)))  # type: ignore[arg-type]  # they are texts


def plain_ids(cells: Sequence[object]) -> bool:
    """Whether all cells are ids as they stand."""
    if set(map(type, cells)) != {str}:
        return False
    texts: Sequence[str] = cells  # type: ignore[assignment]  # as just seen
    return all(texts) and _are_plain(texts) and list(map(str.strip, texts)) == list(texts)


def label_column(cells: Sequence[object], place: Place) -> NDArray[np.int8]:
    """Labels of one class: (n_rows,), 1 yes, 0 no, -1 unknown; `place` is that of the first cell."""
    try:
        return np.array([_LABELS[cell] for cell in cells], dtype=np.int8)
    except (KeyError, TypeError):
        return np.array(
            [_label(cell, place._replace(row=row)) for row, cell in enumerate(cells, place.row)], dtype=np.int8
        )


def _label(cell: object, place: Place) -> int:
    if _is_nan(cell):
        return UNKNOWN
    key = cell.strip().lower() if isinstance(cell, str) else cell
    if not isinstance(key, Hashable) or key not in _LABELS:
        raise place.error(f"the label is {_label_kind(cell)}; use 1 for yes, 0 for no, and nothing for unknown")
    return _LABELS[key]


def _label_kind(cell: object) -> str:
    """The same as `_kind`, but a text that is a number, as all are in CSV, is one."""
    try:
        number = _number(cell)
    except (TypeError, ValueError, OverflowError):
        return _kind(cell)
    return "a negative number" if number < 0 else _kind(number)


def _text(cell: object, place: Place, holds: str) -> str | None:
    """Text, or None where missing; `holds` says what the column should hold, for the message."""
    if cell is None or _is_nan(cell):  # NaN is how some writers say null
        return None
    if isinstance(cell, (bytes, list, dict)):
        raise place.error(f"holds {_kind(cell)}; {holds}")
    return _repaired(str(cell))


def _are_plain(texts: Sequence[str]) -> bool:
    """Whether texts need neither be cut nor repaired."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return max(map(len, texts), default=0) <= MAX_TEXT_CHARACTERS


def _repaired(text: str) -> str:
    """Text without half characters, which a JSON feed cut at 160 UTF-16 units can end in; they become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _number(cell: object) -> float:
    if isinstance(cell, (int, float, Decimal)):
        return float(cell)
    if not isinstance(cell, str):
        raise TypeError("no number")
    return plain_number(cell)


def _is_nan(cell: object) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _image_file(directory: Path, path: str, place: Place) -> bytes | MissingImage:
    try:
        file = (directory / path).resolve()
        if not file.is_relative_to(directory.resolve()):
            raise place.error("the path is a link that leads outside the catalogue; put the file inside")
        return file.read_bytes() or MissingImage("the file is empty")
    except (OSError, ValueError, RuntimeError) as error:
        return MissingImage(_foreign(path) or f"the file cannot be read ({type(error).__name__})")


def _foreign(path: str) -> str | None:
    """What an image cell holds in place of a path, where it tells."""
    return next((reason for beginnings, reason in _FOREIGN if path.startswith(beginnings)), None)


def _kind(cell: object) -> str:
    """What a cell is, in words that do not repeat its content."""
    if isinstance(cell, str):
        return "text"
    kinds = {
        type(None): "null",
        bool: "true or false",
        int: "another number",
        float: "another number",
        bytes: "bytes",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(cell), f"a {type(cell).__name__}")
