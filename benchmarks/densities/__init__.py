"""Densities of tables, by flowkit and by others: what `benchmarks/tables.py` compares."""
