"""Benchmarks: what the engine saves, as ratios. See ``python -m tests.benchmarks --help``."""
