"""Rows of `benchmarks/papers.py`: models, data and published numbers."""
