"""The parts of `benchmarks/speed.py`. Nothing is imported here: flowjax's Python has no torch."""
