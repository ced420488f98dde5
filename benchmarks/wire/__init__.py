"""Frames against HTTP between a gateway and its shards, without a search behind them."""
