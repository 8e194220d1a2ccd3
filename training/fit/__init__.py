"""One training run: losses, objectives, batches, records."""
