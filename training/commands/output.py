"""What a command has found: tables for people, or one JSON document on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from training.console import results


def show(document: Mapping[str, Any], *tables: object, as_json: bool) -> None:
    """Print the document alone, or the tables."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    for table in tables:
        results.print(table)
