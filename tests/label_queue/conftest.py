"""Both stores for every queue test: a SQLite file, and a database of a PostgreSQL server that the tests start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import make_url
from starlette.testclient import TestClient

from service.label_queue.store import LabelQueue, open_store
from tests.label_queue.labelling import Clock, two_tasks
from tests.label_queue.queue_postgres import PostgresServer, find_programs, running_postgres
from tests.label_queue.queue_samples import LEASE_SECONDS

TEMPLATE = "winnow_template"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        if os.environ.get("REQUIRE_POSTGRES") == "1":
            pytest.fail("REQUIRE_POSTGRES=1, but no initdb on PATH or under /usr/lib/postgresql")
        pytest.skip("no PostgreSQL server: install Debian's postgresql package")
    with running_postgres(programs, TEMPLATE) as server:
        open_store(server.url(TEMPLATE), lease_seconds=LEASE_SECONDS).close()
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "queue.sqlite3"
    open_store(f"sqlite:///{path}", lease_seconds=LEASE_SECONDS).close()
    return path


@pytest.fixture(scope="session")
def new_url(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """A function that makes an empty, migrated queue on a store and returns its URL."""
    numbers = count()

    def make(store: str) -> str:
        name = f"queue_{next(numbers)}"
        if store == "sqlite":
            path = tmp_path_factory.mktemp(name) / "queue.sqlite3"
            shutil.copy(sqlite_template, path)
            return f"sqlite:///{path}"
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return server.url(name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def queue_url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> Iterator[str]:
    url = new_url(request.param)
    yield url
    if request.param == "postgresql":  # hundreds of them fill the disk, and take minutes to delete at the end
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


@pytest.fixture
def queue(queue_url: str) -> Iterator[LabelQueue]:
    opened = open_store(queue_url, lease_seconds=LEASE_SECONDS)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(queue: LabelQueue, tiny_bundle: Path, clock: Clock) -> Iterator[TestClient]:
    """The routes over a queue in which two tasks wait."""
    with two_tasks(queue, tiny_bundle, clock) as client:
        yield client
