"""Role `shard`: one copy of one shard of one generation of a VectorIndex."""
