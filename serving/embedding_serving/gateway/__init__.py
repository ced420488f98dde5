"""Role `gateway`: the HTTP API that applications call."""
