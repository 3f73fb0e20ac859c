"""Runs the command line as a person would, in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDE = {"COLUMNS": "200"}  # so that no cell of a table is cut


class Shell:
    """Runs `winnow` in a directory, with a model store in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "BENTOML_HOME": str(directory / "bentoml"), "PYTHONPATH": str(ROOT)} | WIDE

    def winnow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training.cli", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
