"""Frames between gateways and shards: persistent, pipelined connections whose messages are a JSON head and raw bytes."""
