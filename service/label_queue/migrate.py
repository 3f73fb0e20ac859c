"""Bring a label queue's tables to what this release expects, at start or by a command.

`python -m service.label_queue.migrate URL` is the command; the steps themselves are in `migrations`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.errors import WinnowError
from service.label_queue.database import Database

logger = logging.getLogger(__name__)

STEPS = Path(__file__).parent / "migrations"
VARIABLE = "WINNOW_DATABASE_URL"
LOCK_KEY = 0x77696E6E6F77  # "winnow": workers that start together migrate one after the other


def migrate(database: Database) -> str:
    """Run the steps that are missing, in one transaction, and return the revision.

    A revision that this release does not know was made by a newer one, which only added; it is left alone, so that the
    old replicas of a rolling update go on.

    Raises
    ------
    QueueUnavailable
        If the database does not answer.
    """
    with database.write() as connection:
        if database.is_postgresql:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        return _upgrade(connection)


def _upgrade(connection: Connection) -> str:
    config = Config()
    config.set_main_option("script_location", str(STEPS).replace("%", "%%"))
    config.attributes["connection"] = connection
    steps = ScriptDirectory.from_config(config)
    head = steps.get_current_head() or ""
    current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return head
    if current is not None and current not in {step.revision for step in steps.walk_revisions()}:
        logger.warning("label queue was migrated by a newer release", extra={"revision": current, "known": head})
        return current
    command.upgrade(config, "head")
    logger.info("label queue migrated", extra={"from_revision": current, "to_revision": head})
    return head


def main(arguments: list[str] | None = None) -> int:
    """Migrate a label queue; the exit code is 1, with a reason, when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m service.label_queue.migrate", description=main.__doc__)
    parser.add_argument("url", nargs="?", help=f"sqlite:///path or postgresql://…; by default what {VARIABLE} says")
    url = parser.parse_args(arguments).url or os.environ.get(VARIABLE, "")
    try:
        database = Database(url)
        try:
            sys.stdout.write(f"label queue is at revision {migrate(database)}\n")
        finally:
            database.close()
    except WinnowError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
