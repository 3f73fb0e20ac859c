"""Plots: names of classes stand in them as text, whatever they are made of."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from training import plots

JAPANESE = "冷凍食品とお菓子と飲料"
LABEL_SIZE = 9.0  # of the plots' labels, in the drawing's units; a full-width character is as wide


def bars(*names: str) -> str:
    return plots.per_class_ap(names, np.linspace(0.2, 0.9, len(names)))


@pytest.mark.parametrize("name", ["$10_$20", "$x^$", "50 % \\alpha", "1.5", JAPANESE, "كتاب"])
def test_a_class_is_named_as_it_is_in_every_plot_of_classes(name: str) -> None:
    probabilities = np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    targets = np.array([[0, 1], [1, 0]], dtype=np.int8)

    drawn = (
        bars(name, "other"),
        plots.precision_recall([name, "other"], probabilities, targets, [0, 1]),
        plots.intervals([name, "other"], [(0.1, 0.0, 0.2), (0.2, 0.1, 0.3)], x_label="gain"),
    )

    assert [f">{name}</text>" in svg for svg in drawn] == [True, True, True]


def test_a_class_that_is_named_like_html_is_escaped() -> None:
    drawn = bars("<script>alert(1)</script>", "--><b>")

    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert ">&lt;script&gt;alert(1)&lt;/script&gt;</text>" in drawn


def test_a_script_that_no_font_here_knows_is_no_cause_for_a_warning() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        bars(JAPANESE, "other")

    assert [str(one.message) for one in warned] == []


def test_full_width_names_have_room_on_the_left() -> None:
    drawn = bars(JAPANESE, "other")

    found = re.search(rf'text-anchor: end[^>]* x="([\d.]+)"[^>]*>{JAPANESE}<', drawn)
    assert found is not None
    assert float(found[1]) > len(JAPANESE) * LABEL_SIZE
