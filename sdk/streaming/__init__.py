"""Frames one after another: stages in threads, smoothing over time, statistics."""
