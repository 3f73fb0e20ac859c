"""How long work says how far it has come: a function that is called after each step."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all
