"""The first tables of the label queue, with labels and skips that nothing can change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME = sa.String(200)
TIME = sa.DateTime(timezone=True)
EVENT_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
EVENTS = ("label", "skip")


def upgrade() -> None:
    """Create every table, index and trigger."""
    _create_cohorts()
    _create_tasks()
    _create_sampling()
    _create_annotators()
    _create_events()
    _forbid_changes()


def downgrade() -> None:
    """Drop them all, and the labels with them."""
    for table in EVENTS if op.get_context().dialect.name == "postgresql" else ():
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
    for table in (*EVENTS, "submission", "lease", "annotator", "question", "cohort_task", "product", "label_task"):
        op.drop_table(table)
    op.drop_table("cohort")


def _create_cohorts() -> None:
    op.create_table(
        "cohort",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("bundle_version", NAME, nullable=False),
        sa.Column("worker", NAME, nullable=False),
        sa.Column("sealed_at", TIME, nullable=False),
        sa.Column("n_products", sa.Integer, nullable=False),
        sa.Column("tau", sa.Float),
        sa.Column("counters", sa.Text, nullable=False),
    )
    op.create_index("ix_cohort_bundle_version", "cohort", ["bundle_version"])


def _create_tasks() -> None:
    op.create_table(
        "label_task",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("bundle_version", NAME, nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("withdrawal", sa.String(20)),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_expires_at", TIME),
        sa.CheckConstraint("state IN ('open', 'completed', 'withdrawn')", name="state"),
        sa.CheckConstraint("(state = 'withdrawn') = (withdrawal IS NOT NULL)", name="withdrawal"),
    )
    op.create_index("ix_label_task_product_id", "label_task", ["product_id"])
    op.create_index("ix_label_task_lease_token", "label_task", ["lease_token"])
    op.create_index("ix_label_task_queue", "label_task", ["state", sa.text("priority DESC"), "id"])
    op.create_index("ix_label_task_priority", "label_task", [sa.text("priority DESC"), "id"])
    op.create_table(
        "product",
        sa.Column("task_id", NAME, sa.ForeignKey("label_task.id"), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
    )
    op.create_index("ix_product_stored_at", "product", ["stored_at"])


def _create_sampling() -> None:
    op.create_table(
        "cohort_task",
        sa.Column("cohort_id", NAME, sa.ForeignKey("cohort.id"), primary_key=True),
        sa.Column("task_id", NAME, sa.ForeignKey("label_task.id"), primary_key=True),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
    )
    op.create_index("ix_cohort_task_task_id", "cohort_task", ["task_id"])
    op.create_table(
        "question",
        sa.Column("cohort_id", NAME, sa.ForeignKey("cohort.id"), primary_key=True),
        sa.Column("task_id", NAME, sa.ForeignKey("label_task.id"), primary_key=True),
        sa.Column("class_name", NAME, primary_key=True),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("positive", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("inclusion", sa.Float, nullable=False),
        sa.Column("is_new", sa.Boolean, nullable=False),
    )
    op.create_index("ix_question_task_id_class_name", "question", ["task_id", "class_name"])


def _create_annotators() -> None:
    op.create_table(
        "annotator",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("first_seen_at", TIME, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("annotator", sa.String(100), sa.ForeignKey("annotator.name"), nullable=False),
        sa.Column("granted_at", TIME, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
    )


def _create_events() -> None:
    op.create_table(
        "submission",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("n_accepted", sa.Integer, nullable=False),
        sa.Column("submitted_at", TIME, nullable=False),
    )
    op.create_index("ix_submission_submitted_at", "submission", ["submitted_at"])
    op.create_table(
        "label",
        sa.Column("id", EVENT_ID, primary_key=True),
        sa.Column("task_id", NAME, sa.ForeignKey("label_task.id"), nullable=False),
        sa.Column("class_name", NAME, nullable=False),
        sa.Column("answer", sa.String(10), nullable=False),
        sa.Column("annotator", sa.String(100), sa.ForeignKey("annotator.name"), nullable=False),
        sa.Column("labelled_at", TIME, nullable=False),
        sa.Column("bundle_version", NAME, nullable=False),
        sa.Column("is_new", sa.Boolean, nullable=False),
        sa.CheckConstraint("answer IN ('yes', 'no', 'unsure')", name="answer"),
    )
    op.create_index("ix_label_task_id_class_name_annotator", "label", ["task_id", "class_name", "annotator"])
    op.create_table(
        "skip",
        sa.Column("id", EVENT_ID, primary_key=True),
        sa.Column("task_id", NAME, sa.ForeignKey("label_task.id"), nullable=False),
        sa.Column("annotator", sa.String(100), sa.ForeignKey("annotator.name"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("skipped_at", TIME, nullable=False),
    )


def _forbid_changes() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        for table in EVENTS:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            )
        return
    for table in EVENTS:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
