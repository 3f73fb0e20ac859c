"""Fixtures that many tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from starlette.testclient import TestClient

from service.bundles.bundle_store import BundleStore
from tests.served import Backend, serving
from tests.tiny_bundle import write_tiny_bundle
from training.cli import WAIT_POLICY

os.environ.setdefault(*WAIT_POLICY)
settings.register_profile("winnow", deadline=None)  # a busy machine is no wrong answer
settings.load_profile("winnow")


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


@pytest.fixture
def backend(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> Iterator[Backend]:
    """The service in this process, with the tiny bundle promoted."""
    bundle_store.promote(bundle_store.save(tiny_bundle))
    with serving(tmp_path / "bentoml") as started:
        yield started


@pytest.fixture
def client(backend: Backend) -> TestClient:
    """An HTTP client of the service in this process."""
    return backend.client


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which anything was skipped, where REFUSE_SKIPS asks for it, as continuous integration does."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REFUSE_SKIPS") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
