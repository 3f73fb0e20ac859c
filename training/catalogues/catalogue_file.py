"""What a catalogue.toml may say: the fields, the tables of each part, and what the thresholds are for.

Reading the tables it names is left to `training.catalogues.catalogue`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from service.contracts import CategoricalField, FieldSpec, Frozen
from service.errors import CatalogueError
from service.taxonomy import ClassName

FILE_NAME = "catalogue.toml"

PartName = Literal["train", "test", "stream"]
PART_NAMES: tuple[PartName, ...] = ("train", "test", "stream")


class PartTables(Frozen):
    """Tables of one part, as paths relative to the catalogue.toml; label tables hold 1, 0 or null per class."""

    products: str = Field(min_length=1)
    merchant_labels: str | None = Field(default=None, min_length=1)
    truth: str | None = Field(default=None, min_length=1)

    @property
    def label_tables(self) -> tuple[str, ...]:
        """The label tables that this part has."""
        return tuple(table for table in (self.merchant_labels, self.truth) if table is not None)


class ThresholdObjective(Frozen):
    """What a class is thresholded for: the best F-beta, or the most recall at a least precision."""

    objective: Literal["f-beta", "precision-floor"] = "f-beta"
    beta: float = Field(default=1.0, gt=0, le=10)  # of "f-beta": above 1, recall weighs more than precision
    precision: float = Field(default=0.9, gt=0, lt=1)  # of "precision-floor"

    @model_validator(mode="after")
    def _check_pertinent(self) -> ThresholdObjective:
        foreign = "precision" if self.objective == "f-beta" else "beta"
        if foreign in self.model_fields_set:
            raise ValueError(f'objective = "{self.objective}" has no {foreign}; remove it or change the objective')
        return self


class ThresholdSettings(ThresholdObjective):
    """The objective of every class, with exceptions by class name; an exception keeps what it does not say."""

    classes: dict[ClassName, ThresholdObjective] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, table: Any) -> Any:
        if not isinstance(table, Mapping) or not isinstance(table.get("classes"), Mapping):
            return table
        common = {name: value for name, value in table.items() if name in ThresholdObjective.model_fields}
        return {**table, "classes": {name: _merged(common, own) for name, own in table["classes"].items()}}

    def of(self, class_name: str) -> ThresholdObjective:
        """The objective of one class."""
        return self.classes.get(class_name, self)


class CatalogueFile(Frozen):
    """The whole catalogue.toml."""

    name: str = Field(min_length=1, max_length=100)
    fields: FieldSpec
    train: PartTables | None = None
    test: PartTables | None = None
    stream: PartTables | None = None
    thresholds: ThresholdSettings = ThresholdSettings()

    @property
    def parts(self) -> dict[PartName, PartTables]:
        """The parts it has."""
        parts = {name: getattr(self, name) for name in PART_NAMES}
        return {name: tables for name, tables in parts.items() if tables is not None}


def read_catalogue_file(path: Path) -> CatalogueFile:
    """Read and validate a catalogue.toml.

    Raises
    ------
    CatalogueError
        If it is missing, is no TOML, or says something unknown; the message names the key and what is allowed.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(f"{path.name}: there is no such file in {path.parent}; a catalogue needs one") from error
    except ValueError as error:  # TOMLDecodeError or UnicodeDecodeError
        raise CatalogueError(f"{path.name}: not TOML in UTF-8: {error}") from error
    try:
        return CatalogueFile.model_validate(table)
    except ValidationError as error:
        raise CatalogueError(f"{path.name}: {_explanation(error)}") from error


def _merged(common: Mapping[str, Any], own: Any) -> Any:
    if not isinstance(own, Mapping):
        return own
    same = own.get("objective", common.get("objective")) == common.get("objective")
    return {**common, **own} if same else own


def _explanation(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    *table, key = [str(part) for part in first["loc"]] or [""]
    where = f" in [{'.'.join(table)}]" if table else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{where}; allowed are {', '.join(_model_at(table).model_fields)}"
    if first["type"] == "missing":
        return f"{key!r} is missing{where}; add it"
    return f"{key}{where}: {first['msg'].removeprefix('Value error, ')}"


def _model_at(table: list[str]) -> type[BaseModel]:
    if table[:1] == ["fields"]:
        return CategoricalField if len(table) > 1 else FieldSpec
    if table[:1] == ["thresholds"]:
        return ThresholdObjective if len(table) > 1 else ThresholdSettings
    return PartTables if table else CatalogueFile
