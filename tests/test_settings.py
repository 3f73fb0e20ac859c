"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from service.errors import SettingsError
from service.settings import Settings, variable_names


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.from_env({"BENTOML_HOME": "/srv/bentoml", "PATH": "/bin"})

    assert (settings.workers, settings.max_products, settings.batch_size) == (1, 256, 64)
    assert settings.home == Path("/srv/bentoml")
    assert settings.database_url.get_secret_value() == "sqlite:////srv/bentoml/winnow.sqlite3"


def test_an_empty_value_is_the_default_where_that_is_empty() -> None:
    nothing = {"BENTOML_HOME": "/srv/bentoml"}
    fields = Settings.model_fields.items()
    empty = [f"WINNOW_{name.upper()}" for name, field in fields if field.default in {"", SecretStr("")}]

    settings = Settings.from_env(nothing | dict.fromkeys(empty, ""))

    assert settings == Settings.from_env(nothing)
    assert "WINNOW_SPILL_DIRECTORY" in empty
    assert settings.spill_directory == "/srv/bentoml/winnow-spill"


def test_a_setting_is_read_from_its_variable() -> None:
    assert Settings.from_env({"WINNOW_WORKERS": "3"}).workers == 3


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(SettingsError, match=r"WINNOW_WORKER is no setting; did you mean WINNOW_WORKERS\?"):
        Settings.from_env({"WINNOW_WORKER": "3"})


@pytest.mark.parametrize("name", ["WINNOW_HOME", "WINNOW_workers", "WINNOW_"])
def test_only_the_documented_names_are_settings(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is no setting"):
        Settings.from_env({name: "3"})


def test_a_value_that_cannot_be_used_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="WINNOW_WORKERS: Input should be a valid integer") as refused:
        Settings.from_env({"WINNOW_WORKERS": "seventeen"})

    assert "seventeen" not in str(refused.value)


def test_less_memory_than_one_body_may_take_is_refused_with_both_names() -> None:
    with pytest.raises(SettingsError, match="WINNOW_MAX_HELD_BYTES is less than WINNOW_MAX_BODY_BYTES"):
        Settings.from_env({"WINNOW_MAX_BODY_BYTES": "50000000"})

    settings = Settings.from_env({"WINNOW_MAX_BODY_BYTES": "32000000"})
    assert settings.max_body_bytes == settings.max_held_bytes


def test_the_database_password_is_not_printed() -> None:
    settings = Settings.from_env({"WINNOW_DATABASE_URL": "postgresql://winnow:hidden@db/winnow"})

    assert "hidden" not in repr(settings)


def test_every_setting_is_described_in_one_line() -> None:
    for name in variable_names():
        description = Settings.model_fields[name.removeprefix("WINNOW_").lower()].description
        assert description
        assert "\n" not in description
