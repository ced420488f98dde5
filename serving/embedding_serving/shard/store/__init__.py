"""The truth of a shard: one SQLite file. Everything else on the volume is a cache of it."""
