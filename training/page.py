"""An HTML report as one file: a template filled in, plots inside, nothing fetched from anywhere.

What the reports say is left to the modules that write them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def write_page(
    path: Path, template: str, *, filters: Mapping[str, Callable[..., str]] | None = None, **values: object
) -> Path:
    """Write a page and return where it is; folders are made where they are missing.

    Parameters
    ----------
    template : of training/templates; it escapes what it is given
    filters : of its own, beside `score`, which shows three digits
    values : what the template names
    """
    environment = Environment(
        loader=PackageLoader("training", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"score": _three_digits, **(filters or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template(template).render(**values), encoding="utf-8")
    return path


def drawing(svg: str) -> Markup:
    """A plot as it may stand in a page, unescaped: only for SVG that `training.plots` has drawn."""
    return Markup(svg)


def drawings(svgs: Mapping[str, str]) -> dict[str, Markup]:
    """Plots by their titles, as they may stand in a page."""
    return {title: drawing(svg) for title, svg in svgs.items()}


def _three_digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
