"""Measurements that anyone can repeat; each module is one table, run as `python -m benchmarks.<name>`."""
