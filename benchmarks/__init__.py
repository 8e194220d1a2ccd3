"""What it costs, beside other programs: ``python -m benchmarks``."""
