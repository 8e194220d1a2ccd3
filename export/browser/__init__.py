"""A web page that mattes in the visitor's browser: its graphs, its runtime, its files.

``python -m export.web --help`` is the command.
"""
