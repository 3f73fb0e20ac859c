"""The durable queue of label tasks: tables, statements and the writer thread, on SQLite and PostgreSQL."""
