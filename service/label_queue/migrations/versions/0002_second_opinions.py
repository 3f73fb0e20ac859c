"""Tasks remember that an answer surprised and waits for a second opinion.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Add the mark; no task of before bears it."""
    op.add_column("label_task", sa.Column("doubted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_label_task_doubted", "label_task", ["doubted", sa.text("priority DESC"), "id"])


def downgrade() -> None:
    """Forget it."""
    op.drop_index("ix_label_task_doubted", "label_task")
    op.drop_column("label_task", "doubted")
