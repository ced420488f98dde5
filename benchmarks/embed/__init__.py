"""Texts per CPU-second of the embedding server, beside a plain FastAPI + transformers server."""
