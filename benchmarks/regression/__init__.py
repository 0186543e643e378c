"""Conditional densities compared by `benchmarks/conditional.py`."""
