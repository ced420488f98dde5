"""The approximate index of a shard: a cache of its vectors that can always be rebuilt."""
