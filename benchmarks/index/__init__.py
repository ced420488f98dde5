"""Figures of the approximate index alone, without store or wire: build, memory, search, writes beside searches, restart."""
