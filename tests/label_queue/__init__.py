"""The label queue, on SQLite and on PostgreSQL."""
