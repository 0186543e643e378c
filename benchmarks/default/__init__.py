"""Parts of `benchmarks/default.py`: cases, workers of two builds and of peers, and reports."""
