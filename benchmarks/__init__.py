"""Every kernel beside its rivals, in one run: ``python -m benchmarks``."""
