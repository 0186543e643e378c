"""The rows of `benchmarks/papers.py`: which model on which data, and what was published."""
