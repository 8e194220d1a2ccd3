"""The web service: pictures and frames in over HTTP, mattes out; ``sdk.serve`` is its command."""
