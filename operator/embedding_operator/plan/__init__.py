"""Decisions: a frozen snapshot of the world in, a plan out. No I/O, no clock, no client: time is in the snapshot."""
