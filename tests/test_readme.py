"""The README is kept true: its tables are what the code says, and what it tells a newcomer to type exists."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.testing import CliRunner

from service.settings import PREFIX, Settings, variable_names
from service.telemetry.metrics import Metrics
from training.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def settings_rows() -> list[str]:
    rows = []
    for name in variable_names():
        field = Settings.model_fields[name.removeprefix(PREFIX).lower()]
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        rows.append(f"| `{name}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return rows


def metrics_rows() -> list[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    rows = []
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return rows


def test_the_table_of_settings_is_what_the_service_reads() -> None:
    assert table_after("Settings") == settings_rows()


def test_the_table_of_metrics_is_what_the_service_counts() -> None:
    assert table_after("Metrics") == metrics_rows()


def test_the_label_script_of_the_readme_is_the_one_that_is_tested() -> None:
    script = (ROOT / "docs" / "label_script.py").read_text(encoding="utf-8").split(chr(34) * 3, 2)[2].strip()

    assert script in README


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_tour_of_the_readme_is_the_one_of_the_script() -> None:
    shown = re.findall(r"^\$ (winnow [a-z-]+(?: [a-z]+)?)", README, flags=re.MULTILINE)
    script = (ROOT / "docs" / "tour.sh").read_text(encoding="utf-8")

    assert len(shown) == 6
    assert all(command in script for command in shown)


def test_every_command_of_the_readme_exists() -> None:
    commands = set(
        re.findall(r"^(?:\$ )?winnow ([a-z-]+(?: (?:list|show|fill|export|import|simulate))?)", README, re.MULTILINE)
    )

    for command in commands:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
