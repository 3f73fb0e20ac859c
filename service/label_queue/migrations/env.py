"""Alembic's entry: it runs the steps on the connection that `service.label_queue.migrate` passes in."""

from __future__ import annotations

from alembic import context

from service.label_queue.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can change a column only by copying the table
)
with context.begin_transaction():
    context.run_migrations()
