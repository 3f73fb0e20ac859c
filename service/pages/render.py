"""Fills the pages: the overview at `/` and the documentation at `/docs`, both from the served bundle alone.

What a request may hold is left to `service.api.product_reader`, which also words it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from service.api.openapi import PROBLEMS, example_product
from service.api.product_reader import expectations
from service.bundles.bundle import Manifest, MemberCard

LINKS = {
    "./": "Overview",
    "label": "Label",
    "quality": "Quality",
    "docs": "Documentation",
    "model": "Model",
    "openapi.json": "OpenAPI",
    "metrics": "Metrics",
}
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def asset(name: str) -> bytes:
    """Content of a style sheet, script or drawing of ours.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    return (resources.files(__package__) / name).read_bytes()


def overview_page(manifest: Manifest) -> str:
    """What is served, at a glance."""
    content = filled(
        "overview.html",
        catalogue=manifest.catalogue,
        version=manifest.version,
        created_at=f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        n_classes=str(len(manifest.taxonomy)),
        n_members=str(len(manifest.members)),
        metric_cards=Markup(_metric_cards(manifest.metrics)),
        members=Markup("\n".join(map(_member_row, manifest.members))),
        classes=Markup("".join(f"<li>{html.escape(name)}</li>" for name in manifest.taxonomy.classes)),
    )
    return framed("Winnow", content)


def docs_page(manifest: Manifest, *, url: str, max_products: int, url_column: str | None = None) -> str:
    """How to call `/classify`, with a command that works and a form.

    Parameters
    ----------
    url : where this service was reached, for instance http://127.0.0.1:3000
    url_column : the field that may give a product's image by URL
    """
    example = {"products": [example_product(manifest)]}
    content = filled(
        "docs.html",
        catalogue=manifest.catalogue,
        max_products=str(max_products),
        id=manifest.fields.id,
        fields=Markup(_field_rows(manifest, url_column)),
        curl=curl_command(url, example),
        request=json.dumps(example, indent=2, ensure_ascii=False),
        picture=Markup(_picture_input(manifest.fields.image)),
        problems=Markup("\n".join(_row(str(status), what) for status, what in PROBLEMS.items())),
    )
    return framed("Winnow: documentation", content)


def waiting_page() -> str:
    """Shown while no bundle is loaded."""
    command = "<code>winnow train</code> makes one, <code>winnow promote</code> makes it the current one."
    return framed("Winnow", f"<h1>No model is loaded yet</h1><p>{command}</p>")


def curl_command(url: str, body: Mapping[str, Any]) -> str:
    """A command for a shell, whatever characters the body holds."""
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl {url}/classify -H 'content-type: application/json' \\\n  -d '{quoted}'"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def filled(name: str, **values: str) -> str:
    """A template of ours with its gaps filled; what is no markup is escaped."""
    safe = {key: value if isinstance(value, Markup) else html.escape(value) for key, value in values.items()}
    return Template(asset(name).decode()).substitute(safe)


def framed(title: str, content: str) -> str:
    """A whole page around its content."""
    links = "".join(f'<a href="{target}">{words}</a>' for target, words in LINKS.items())
    return filled("frame.html", title=title, links=Markup(links), content=Markup(content))


def _metric_cards(metrics: Mapping[str, Any]) -> str:
    ensemble = metrics.get("ensemble")
    values = ensemble if isinstance(ensemble, Mapping) else {}
    macro_ap = values.get("macro_ap")
    if not isinstance(macro_ap, (int, float)):
        return ""
    return f'<div class="card"><span class="faint">macro average precision</span><b>{macro_ap:.3f}</b></div>'


def _member_row(member: MemberCard) -> str:
    weight = sum(member.weights) / len(member.weights)
    cells = "".join(
        f"<td>{html.escape(text)}</td>" for text in (member.name, member.kind, ", ".join(member.modalities))
    )
    return f"<tr>{cells}<td>{weight:.2f}</td></tr>"


def _field_rows(manifest: Manifest, url_column: str | None) -> str:
    fields = manifest.fields
    kinds = {fields.id: "id", **dict.fromkeys(fields.text, "text")}
    kinds |= {field.column: "categorical" for field in fields.categorical}
    kinds |= dict.fromkeys(fields.numerical, "numerical")
    if fields.image:
        kinds[fields.image] = "image"
    if url_column:
        kinds[url_column] = "image by URL"
    words = expectations(fields, url_column)
    return "\n".join(
        f"<tr><td><code>{html.escape(column)}</code></td><td>{kind}</td><td>{_wanted(words[column])}</td></tr>"
        for column, kind in kinds.items()
    )


def _wanted(words: str) -> str:
    return html.escape(words.removeprefix("must be "))


def _picture_input(column: str | None) -> str:
    if column is None:
        return ""
    name = html.escape(column)
    types = "image/jpeg,image/png,image/webp"
    return f'<label>{name} <input type="file" id="picture" data-field="{name}" accept="{types}"></label>'


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
