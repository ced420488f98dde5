"""Role `prepare`: fetch a model once, verify it, convert it to what the engines load, and leave it read-only."""
