"""HTTP plumbing of every role: sockets, one request and its answer, errors."""
