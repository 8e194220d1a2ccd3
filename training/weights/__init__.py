"""Checkpoints of others: how they are packed, and what their tensors are called."""
