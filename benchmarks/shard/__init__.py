"""What the process around a shard's index costs."""
