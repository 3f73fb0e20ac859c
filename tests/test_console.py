"""What commands print: a shop's own names as they are, whatever characters they are made of."""

from __future__ import annotations

import pytest

from service.errors import CatalogueError
from service.quality.quality_course import quality_course
from training.commands.output import show
from training.console import messages, progress_bars, quality_table, show_error

NAMES = ("[/sale]", "size [xl]", ":shoe:", "[bold]", "100 % <b>")


def test_a_table_shows_names_with_brackets_and_colons_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    course = quality_course([], [], version="shop [de]", classes=NAMES)

    show(course.to_json(), quality_table(course), as_json=False)

    shown = capsys.readouterr().out
    assert [name for name in (*NAMES, "shop [de]") if name not in shown] == []


def test_a_message_shows_names_with_brackets_and_colons_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    messages.print(*NAMES)
    show_error(CatalogueError("the class '[/sale]' of shop [de] is in only one"))

    said = capsys.readouterr().err
    assert " ".join(NAMES) in said
    assert "error: the class '[/sale]' of shop [de] is in only one" in said


def test_a_progress_bar_takes_a_stage_for_text(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("[/sale]", 1, 1)

    assert "[/sale]" in capsys.readouterr().err
