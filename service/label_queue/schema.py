"""The tables of the label queue, the same on SQLite and PostgreSQL; changes to them are left to `migrations`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept as UTC: SQLite has no time zones, so there the zone is taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: nobody could tell which hour it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time in the label queue needs a time zone; pass datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text: PostgreSQL's own type refuses NUL, which a feed's title may well hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        """Write without spaces, refusing NaN, which is no JSON."""
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        """Read it back."""
        return None if value is None else json.loads(value)


EVENT_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only in a column called INTEGER

cohort = Table(
    "cohort",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("bundle_version", String(200), nullable=False, index=True),
    Column("worker", String(200), nullable=False),
    Column("sealed_at", UtcDateTime, nullable=False),
    Column("n_products", Integer, nullable=False),
    Column("tau", Float),
    Column("counters", JsonText, nullable=False),
)

label_task = Table(
    "label_task",
    metadata,
    Column("id", String(200), primary_key=True),  # the product's fingerprint
    Column("product_id", Text, nullable=False, index=True),
    Column("state", String(20), nullable=False),  # "leased" is computed from the two lease columns
    Column("priority", Float, nullable=False),
    Column("bundle_version", String(200), nullable=False),  # of the newest cohort that asked
    Column("opened_at", UtcDateTime, nullable=False),
    Column("withdrawal", String(20)),  # why: skipped, deleted, expired
    Column("lease_token", String(64), index=True),
    Column("lease_expires_at", UtcDateTime),
    Column("doubted", Boolean, nullable=False, server_default=false()),  # an answer surprised: to be asked again
    CheckConstraint("state IN ('open', 'completed', 'withdrawn')", name="state"),
    CheckConstraint("(state = 'withdrawn') = (withdrawal IS NOT NULL)", name="withdrawal"),
)
Index("ix_label_task_queue", label_task.c.state, label_task.c.priority.desc(), label_task.c.id)
Index("ix_label_task_priority", label_task.c.priority.desc(), label_task.c.id)  # of all states: overlapping leases
Index("ix_label_task_doubted", label_task.c.doubted, label_task.c.priority.desc(), label_task.c.id)

product = Table(  # apart from the task, because it is large and may have to go before the labels do
    "product",
    metadata,
    Column("task_id", ForeignKey(label_task.c.id), primary_key=True),
    Column("record", JsonText, nullable=False),  # as posted
    Column("stored_at", UtcDateTime, nullable=False, index=True),
)

cohort_task = Table(
    "cohort_task",
    metadata,
    Column("cohort_id", ForeignKey(cohort.c.id), primary_key=True),
    Column("task_id", ForeignKey(label_task.c.id), primary_key=True, index=True),
    Column("priority", Float, nullable=False),
    Column("weight", Float, nullable=False),
)

question = Table(
    "question",
    metadata,
    Column("cohort_id", ForeignKey(cohort.c.id), primary_key=True),
    Column("task_id", ForeignKey(label_task.c.id), primary_key=True),
    Column("class_name", String(200), primary_key=True),
    Column("probability", Float, nullable=False),
    Column("positive", Boolean, nullable=False),
    Column("reason", String(100), nullable=False),
    Column("weight", Float, nullable=False),
    Column("inclusion", Float, nullable=False),
    Column("is_new", Boolean, nullable=False),  # no cohort had asked it before: counting these is cheap
    Index(None, "task_id", "class_name"),
)

annotator = Table(
    "annotator",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("first_seen_at", UtcDateTime, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("annotator", ForeignKey(annotator.c.name), nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("overlap", Integer, nullable=False),
)

submission = Table(  # one per idempotency key
    "submission",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("n_accepted", Integer, nullable=False),
    Column("submitted_at", UtcDateTime, nullable=False, index=True),
)

label = Table(  # events: triggers refuse to change or delete one
    "label",
    metadata,
    Column("id", EVENT_ID, primary_key=True),
    Column("task_id", ForeignKey(label_task.c.id), nullable=False),
    Column("class_name", String(200), nullable=False),
    Column("answer", String(10), nullable=False),
    Column("annotator", ForeignKey(annotator.c.name), nullable=False),
    Column("labelled_at", UtcDateTime, nullable=False),
    Column("bundle_version", String(200), nullable=False),
    Column("is_new", Boolean, nullable=False),  # the annotator had not answered the question before
    CheckConstraint("answer IN ('yes', 'no', 'unsure')", name="answer"),
    Index(None, "task_id", "class_name", "annotator"),
)

skip = Table(
    "skip",
    metadata,
    Column("id", EVENT_ID, primary_key=True),
    Column("task_id", ForeignKey(label_task.c.id), nullable=False),
    Column("annotator", ForeignKey(annotator.c.name), nullable=False),
    Column("reason", Text, nullable=False),
    Column("skipped_at", UtcDateTime, nullable=False),
)
