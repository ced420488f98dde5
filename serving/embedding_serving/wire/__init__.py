"""Length-prefixed frames between gateways and shards."""
