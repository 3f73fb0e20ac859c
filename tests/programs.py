"""Programs of the machine that some tests run: skipped where one is missing, but never in continuous integration."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str, *, package: str) -> str:
    """Path of a program; skips the test without it, or fails where REQUIRE_PROGRAMS is set."""
    path = shutil.which(program)
    if path:
        return path
    if os.environ.get("REQUIRE_PROGRAMS"):
        pytest.fail(f"{program} is missing; install {package}")
    pytest.skip(f"{program} is missing; install {package} to run this test")
