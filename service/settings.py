"""What can be set from outside, through environment variables; read once where a process is composed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator

from service.contracts import Frozen
from service.errors import SettingsError

PREFIX = "WINNOW_"
HOME = "BENTOML_HOME"


class Settings(Frozen):
    """Validated settings; `WINNOW_WORKERS` sets `workers`, and so on. The descriptions make the README's table."""

    workers: int = Field(default=1, ge=1, le=256, description="worker processes; one a core is best")
    max_products: int = Field(default=256, ge=1, le=4096, description="products accepted in one request")
    max_body_bytes: int = Field(default=10_000_000, ge=1024, description="size of a request body that is read at most")
    batch_size: int = Field(
        default=64, ge=1, le=1024,
        description="products that run through the graph at once; twice as many where none has an image",
    )  # fmt: skip
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="where the graph runs: `cpu`, or `cuda` with `onnxruntime-gpu` installed instead"
    )
    model: str = Field(default="winnow", pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="name in the model store")
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="label queue: `sqlite:///…` or `postgresql://…`; by default a file in `BENTOML_HOME`",
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="live keys as `caller:role+role:sha256`, with commas between; needed to listen beyond loopback",
    )
    max_held_bytes: int = Field(
        default=32_000_000, ge=1024, description="of all request bodies that a worker holds at one time; one at least"
    )
    body_seconds: float = Field(default=10.0, gt=0, le=600, description="time for a request body to arrive")
    max_running: int = Field(default=128, ge=1, description="classify requests that a worker works on at one time")
    max_waiting: int = Field(default=256, ge=0, description="classify requests that may wait for a worker; then 429")
    wait_seconds: float = Field(default=2.0, gt=0, le=60, description="how long one may wait; then 503")
    queue: bool = Field(default=True, description="sample what is classified for labelling; `false` only classifies")
    cohort_products: int = Field(
        default=5_000, ge=2, le=1_000_000, description="products after which a cohort is sealed"
    )
    cohort_seconds: float = Field(default=900.0, gt=0, description="age at which a cohort is sealed")
    cohort_tasks: int = Field(default=100, ge=1, le=10_000, description="products of a cohort that are queued at most")
    questions: int = Field(default=5, ge=1, le=100, description="questions asked about each queued product")
    lease_seconds: float = Field(default=900.0, gt=0, description="how long an annotator may hold tasks")
    retention_days: float = Field(
        default=365.0, gt=0, le=36_500, description="how long a queued product is kept as posted; its labels stay"
    )
    spill_directory: str = Field(
        default="",
        description="where sealed cohorts wait while the label queue's store is away; by default in `BENTOML_HOME`",
    )
    spill_bytes: int = Field(default=200_000_000, ge=0, description="what they may take there; 0 keeps none on disk")
    swap_seconds: float = Field(
        default=2.0, ge=0.05, le=3600, description="time between two looks at which bundle is promoted"
    )
    image_hosts: str = Field(
        default="",
        description="hosts whose images may be given by URL, with commas between; `*.shop.example` is all below it",
    )
    image_seconds: float = Field(default=3.0, gt=0, le=60, description="time for the images of one request to arrive")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe message that is logged"
    )
    home: Path = Field(
        default=Path("~/bentoml"), description="BentoML's directory, with the model store in it", exclude=True
    )

    @model_validator(mode="after")
    def _check_room(self) -> Settings:
        if self.max_held_bytes < self.max_body_bytes:
            raise SettingsError(
                f"{PREFIX}MAX_HELD_BYTES is less than {PREFIX}MAX_BODY_BYTES, so that a body of that size would always"
                " be asked to come again; raise the one or lower the other"
            )
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read all settings; a name that starts with WINNOW_ and is none of ours is refused, so no typo is silent.

        Raises
        ------
        SettingsError
            Naming the variable or variables and the remedy, never the value.
        """
        given = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
        known = variable_names()
        for name in given:
            if PREFIX + name not in known:
                raise SettingsError(f"{PREFIX}{name} is no setting{_closest(PREFIX + name, known)}")
        values = {name.lower(): value for name, value in given.items()}
        home = Path(environ.get(HOME) or "~/bentoml").expanduser()
        values["database_url"] = values.get("database_url") or f"sqlite:///{home / 'winnow.sqlite3'}"
        values["spill_directory"] = values.get("spill_directory") or str(home / "winnow-spill")
        try:
            return cls.model_validate({**values, "home": home})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise SettingsError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from error


def variable_names() -> tuple[str, ...]:
    """Names of all environment variables that are ours."""
    return tuple(PREFIX + name.upper() for name in Settings.model_fields if name != "home")


def _closest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
