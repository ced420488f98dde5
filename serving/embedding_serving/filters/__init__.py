"""Filters over document metadata: their grammar, and their SQL."""
