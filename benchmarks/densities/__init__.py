"""Densities of tables compared by `benchmarks/tables.py`."""
