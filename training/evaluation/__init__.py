"""Evaluation: systems that matte, metrics, tables and pictures of the results."""
