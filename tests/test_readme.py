"""The README is kept true: its tables are what the code says, and what it tells a newcomer to type exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.testing import CliRunner

from service.settings import PREFIX, Settings, variable_names
from service.telemetry.metrics import Metrics
from training.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def prose(document: Path) -> str:
    """What a document says outside its blocks of code."""
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """What GitHub calls the headings of a document: small letters, no punctuation, a number from the second on."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def targets(document: Path) -> list[str]:
    """Where links and pictures lead, in Markdown and in HTML, other sites left out."""
    text = prose(document)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    return [target for target in found if not re.match(r"(https?|mailto):", target)]


def broken_links(document: Path) -> list[str]:
    """Targets that are no file beside the document, or no heading of one."""
    return [target for target in targets(document) if _is_broken(document, target)]


def _is_broken(document: Path, target: str) -> bool:
    path, _, fragment = target.partition("#")
    file = document.parent / path if path else document
    return not file.exists() or (bool(fragment) and fragment not in anchors(file))


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_of_the_docs_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_every_picture_of_the_docs_lies_with_the_others_and_is_shown() -> None:
    pictures = {path for path in (ROOT / "docs").rglob("*") if path.suffix in {".png", ".jpg", ".svg", ".webp"}}

    shown = {(document.parent / target).resolve() for document in DOCUMENTS for target in targets(document)}
    assert {picture.parent for picture in pictures} == {ROOT / "docs" / "images"}
    assert {picture.resolve() for picture in pictures} <= shown


def test_a_link_to_a_file_a_heading_or_a_picture_that_is_not_there_is_broken(tmp_path: Path) -> None:
    document, other = tmp_path / "a.md", tmp_path / "b.md"
    other.write_text("# It's `b`, too\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n")
    good = "[a](b.md) [b](b.md#its-b-too) [c](b.md#twice-1) [d](#here) [e](https://x.example/#y)\n\n# Here\n"
    document.write_text(good + '[f](c.md) [g](b.md#twice-2) [h](#no-heading) <img src="d.png"> [i](b.md#no-heading)')

    assert broken_links(document) == ["c.md", "b.md#twice-2", "#no-heading", "b.md#no-heading", "d.png"]
