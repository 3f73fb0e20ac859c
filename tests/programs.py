"""Programs of the machine that some tests run; continuous integration installs them and refuses skips."""

from __future__ import annotations

import shutil

import pytest


def needed(program: str, *, package: str) -> str:
    """Path of a program; skips the test without it."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing; install {package} to run this test")
    return path
