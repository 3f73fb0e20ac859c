"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundle_store import BundleStore
from tests.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a small real bundle; not to be changed."""
    directory = tmp_path_factory.mktemp("bundles") / "tiny-1"
    write_tiny_bundle(directory)
    return directory


@pytest.fixture
def bundle_store(tmp_path: Path) -> BundleStore:
    """An empty model store of its own."""
    return BundleStore(tmp_path / "bentoml")
