"""What is special about each database: migrations, one SQLite replica, full disks, servers that go away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from service.errors import QueueUnavailable, SecondReplica, SettingsError, StorageFull
from service.label_queue.database import Database
from service.label_queue.migrate import main as migrate_command
from service.label_queue.migrate import migrate
from service.label_queue.reading import Filters
from service.label_queue.schema import metadata
from service.label_queue.store import LabelQueue, open_store
from service.label_queue.write_lock import WriteLock
from tests.label_queue.queue_postgres import PostgresServer
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, answer, make_cohort, make_task


def test_the_migrations_end_where_the_schema_is(queue: LabelQueue) -> None:
    with queue.database.read() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)

    assert difference == []


def test_migrating_a_migrated_queue_changes_nothing(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)

    revision = migrate(queue.database)

    assert revision == "0002"
    assert queue.stats(now=NOON).open == 1


def test_a_queue_that_a_newer_release_migrated_is_left_alone(queue_url: str) -> None:
    newer = Database(queue_url)
    with newer.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer.close()

    queue = open_store(queue_url, lease_seconds=LEASE_SECONDS)
    queue.enqueue([make_cohort(make_task())], now=NOON)

    assert queue.stats(now=NOON).open == 1
    queue.close()


def test_the_migrate_command_says_where_the_queue_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate_command([f"sqlite:///{tmp_path}/new.sqlite3"]) == 0
    assert capsys.readouterr().out == "label queue is at revision 0002\n"

    assert migrate_command(["mysql://x"]) == 1
    assert "use sqlite:///path or postgresql://" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["mysql://db/x", "no url", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_hold_the_queue_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///"):
        open_store(url, lease_seconds=LEASE_SECONDS)


def test_sqlite_syncs_every_commit_to_disk_and_keeps_its_log(tmp_path: Path) -> None:
    queue = open_store(f"sqlite:///{tmp_path}/queue.sqlite3", lease_seconds=LEASE_SECONDS)

    with queue.database.read() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert settings == ["wal", 2]
    queue.close()


def test_a_second_replica_on_sqlite_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.sqlite3"
    worker = open_store(url, lease_seconds=LEASE_SECONDS, replica="host-1:7")
    other_worker = open_store(url, lease_seconds=LEASE_SECONDS, replica="host-1:7")

    with pytest.raises(SecondReplica, match=r"belongs to replica host-1:7\. SQLite serves one replica; .*PostgreSQL"):
        open_store(url, lease_seconds=LEASE_SECONDS, replica="host-2:7")

    open_store(url, lease_seconds=LEASE_SECONDS).close()  # a command beside the service is welcome
    worker.close()
    with pytest.raises(SecondReplica):
        open_store(url, lease_seconds=LEASE_SECONDS, replica="host-2:7")
    other_worker.close()
    open_store(url, lease_seconds=LEASE_SECONDS, replica="host-2:7").close()


def test_a_full_disk_stores_nothing_and_reading_goes_on(tmp_path: Path) -> None:
    queue = open_store(f"sqlite:///{tmp_path}/queue.sqlite3", lease_seconds=LEASE_SECONDS)
    queue.enqueue([make_cohort(make_task())], now=NOON)
    with queue.database.read() as connection:  # the pool hands the same connection out again
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    large = make_task("large", product={"description": "x" * 1_000_000})

    with pytest.raises(StorageFull, match="no room left"):
        queue.enqueue([make_cohort(make_task("small"), large)], now=NOON)

    assert [task.id for task in queue.look(Filters(), limit=9, now=NOON).tasks] == ["f1"]
    queue.close()


def test_sqlite_that_another_process_keeps_writing_to_is_unavailable_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "queue.lock"
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(QueueUnavailable, match="another process"), WriteLock(path, patience_seconds=0.01).held():
        pass

    holder.communicate()
    with WriteLock(path, patience_seconds=0.01).held():
        pass


def test_a_stopped_server_is_unavailable_and_comes_back_without_a_restart_of_ours(
    postgres_server: PostgresServer, new_url: Callable[[str], str]
) -> None:
    queue = open_store(new_url("postgresql"), lease_seconds=LEASE_SECONDS)
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)
    postgres_server.stop("immediate")
    sent = answer("ann", "f1", {"black": "yes", "kids": "no"}, token=lease.token, key="k")

    try:
        with pytest.raises(QueueUnavailable, match="did not answer"):
            queue.submit(sent, now=NOON)
        late = open_store(queue.database.engine.url.render_as_string(), lease_seconds=LEASE_SECONDS)
        with pytest.raises(QueueUnavailable):
            late.check()
    finally:
        postgres_server.start()

    late.check()
    assert queue.submit(sent, now=NOON) == sent.labels
    assert queue.stats(now=NOON).completed == 1
    late.close()
    queue.close()
