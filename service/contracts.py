"""The shared shapes: which fields a catalogue has, what a product is, and what one classification says.

Reading them from JSON is left to `service.api.classify_api`, from files to `training.catalogues.catalogue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Modality = Literal["text", "image", "categorical", "numerical"]
MODALITIES: tuple[Modality, ...] = ("text", "image", "categorical", "numerical")
MemberKind = Literal["linear", "mlp", "trees", "convolutional", "recurrent", "fused"]

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class Frozen(BaseModel):
    """A value that is validated once, never changes, and refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CategoricalField(Frozen):
    """A categorical column; with a separator it holds several values, as in "Shoes,Sale"."""

    column: ColumnName
    separator: str | None = Field(default=None, min_length=1, max_length=5)

    def values(self, cell: object) -> tuple[str, ...]:
        """Distinct, stripped values of one cell, which is None, a string, or a list of strings."""
        if cell is None:
            return ()
        if isinstance(cell, str) and not (self.separator and self.separator in cell):  # so it is nearly always
            value = cell.strip()
            return (value,) if value else ()
        parts = cell if isinstance(cell, (list, tuple)) else self._split(str(cell))
        stripped = (str(part).strip() for part in parts if part is not None)
        return tuple(dict.fromkeys(part for part in stripped if part))

    def _split(self, text: str) -> list[str]:
        return text.split(self.separator) if self.separator else [text]


def _named(entry: object) -> object:
    return {"column": entry} if isinstance(entry, str) else entry


class FieldSpec(Frozen):
    """Which column of a catalogue is what: the `[fields]` table of a catalogue.toml.

    Whose a product is stands in the categorical column `merchant`, or in one that is called so by default, which is
    left to `training.catalogues.merchants`.
    """

    id: ColumnName
    text: tuple[ColumnName, ...] = ()
    categorical: tuple[Annotated[CategoricalField, BeforeValidator(_named)], ...] = ()
    numerical: tuple[ColumnName, ...] = ()
    image: ColumnName | None = None
    merchant: ColumnName | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> FieldSpec:
        columns = self.columns
        repeated = sorted({column for column in columns if columns.count(column) > 1})
        if repeated:
            raise ValueError(f"each column can have one meaning; listed more than once: {', '.join(repeated)}")
        if len(columns) < 2:
            raise ValueError("name at least one text, categorical, numerical or image column beside the id")
        if self.merchant is not None and self.merchant not in [field.column for field in self.categorical]:
            raise ValueError(f"merchant = {self.merchant!r} is none of the categorical columns; list it among them")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, the id first."""
        categorical = tuple(field.column for field in self.categorical)
        image = (self.image,) if self.image else ()
        return (self.id, *self.text, *categorical, *self.numerical, *image)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that at least one column feeds."""
        have = {
            "text": bool(self.text),
            "image": self.image is not None,
            "categorical": bool(self.categorical),
            "numerical": bool(self.numerical),
        }
        return tuple(modality for modality in MODALITIES if have[modality])

    def product(self, record: Mapping[str, Any], *, image: bytes | None = None) -> Product:
        """Arrange a record, whose values have the right types or are None, in the order of these fields."""
        return Product(
            product_id=str(record[self.id]),
            texts=tuple([record.get(column) or "" for column in self.text]),
            categories=tuple([field.values(record.get(field.column)) for field in self.categorical]),
            numbers=tuple([_number(record.get(column)) for column in self.numerical]),
            image=image,
        )


def _number(cell: float | None) -> float:
    return float("nan") if cell is None else float(cell)


@dataclass(frozen=True, slots=True)
class Product:
    """One product, its values in the order of the `FieldSpec`; whatever is missing is empty, NaN or None."""

    product_id: str
    texts: tuple[str, ...]  # "" where missing
    categories: tuple[tuple[str, ...], ...]  # () where missing
    numbers: tuple[float, ...]  # NaN where missing
    image: bytes | None  # encoded JPEG, PNG or WebP


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the ensemble says about a batch.

    Parameters
    ----------
    probabilities : (n_products, n_classes), float32 in [0, 1], calibrated
    member_probabilities : (n_products, n_members, n_classes), float32 in [0, 1]; meaningless where not `present`
    present : (n_products, n_members), bool; False where the member abstains
    embedding : (n_products, n_dimensions), float32
    """

    probabilities: NDArray[np.float32]
    member_probabilities: NDArray[np.float32]
    present: NDArray[np.bool_]
    embedding: NDArray[np.float32]
