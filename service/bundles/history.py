"""Files of JSON lines that are only ever appended to, and read by whoever sees the directory.

What the lines say is left to `service.bundles.promotions` and `service.bundles.retrainings`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Line = TypeVar("Line")


def append(path: Path, document: Mapping[str, Any]) -> None:
    """Write one line and wait until the disk has it; a line that a kill cut short before it stays apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"\n" if _is_cut_short(path) else b"")
        file.write(json.dumps(document).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, form: TypeAdapter[Line]) -> list[Line]:
    """All lines of a form, oldest first; none where there is no file, and without what a kill cut short."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(form.validate_json(line, strict=True))
        except ValidationError:
            continue
    return found


def _is_cut_short(path: Path) -> bool:
    content = path.read_bytes()
    return bool(content) and not content.endswith(b"\n")
