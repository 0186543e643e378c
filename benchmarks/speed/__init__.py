"""Modules of `benchmarks/speed.py`, without imports because flowjax's Python has no torch."""
